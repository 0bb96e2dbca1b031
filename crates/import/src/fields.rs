//! Fields of plans and the like, read with their path in every complaint.

use serde_json::Value as Json;

/// A value with the way to it.
#[derive(Debug, Clone)]
pub(crate) struct Field<'j> {
    value: &'j Json,
    path: String,
}

/// What a field is not.
pub(crate) type Wrong = String;

impl<'j> Field<'j> {
    /// The whole document.
    pub fn root(value: &'j Json) -> Self {
        Self { value, path: String::new() }
    }

    /// A document by itself that has a name.
    pub fn named(value: &'j Json, name: &str) -> Self {
        Self { value, path: name.to_owned() }
    }

    /// The value itself.
    pub fn json(&self) -> &'j Json {
        self.value
    }

    /// The complaint that it is something else.
    pub fn wrong(&self, expected: &str) -> Wrong {
        let shown: String = self.value.to_string().chars().take(80).collect();
        format!("{} is {shown}, expected {expected}", if self.path.is_empty() { "the document" } else { &self.path })
    }

    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A key that may be absent or null.
    pub fn find(&self, key: &str) -> Option<Field<'j>> {
        self.value.get(key).filter(|v| !v.is_null()).map(|value| Field { value, path: self.at(key) })
    }

    /// A key that must be there.
    pub fn get(&self, key: &str) -> Result<Field<'j>, Wrong> {
        self.find(key).ok_or_else(|| format!("{} is missing", self.at(key)))
    }

    /// Entries of an object.
    pub fn entries(&self) -> Result<Vec<(&'j str, Field<'j>)>, Wrong> {
        let map = self.value.as_object().ok_or_else(|| self.wrong("a dictionary"))?;
        Ok(map.iter().map(|(k, value)| (k.as_str(), Field { value, path: self.at(k) })).collect())
    }

    /// Elements of a list.
    pub fn items(&self) -> Result<Vec<Field<'j>>, Wrong> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        Ok(list.iter().enumerate().map(|(i, value)| Field { value, path: format!("{}[{i}]", self.path) }).collect())
    }

    /// Text.
    pub fn text(&self) -> Result<&'j str, Wrong> {
        self.value.as_str().ok_or_else(|| self.wrong("text"))
    }

    /// A finite number.
    pub fn number(&self) -> Result<f64, Wrong> {
        self.value.as_f64().filter(|x| x.is_finite()).ok_or_else(|| self.wrong("a number"))
    }

    /// A whole number from 0; Python writes some of them as floats.
    pub fn count(&self) -> Result<u64, Wrong> {
        let float = || self.value.as_f64().filter(|x| *x >= 0.0 && x.fract() == 0.0 && *x < 9e15).map(|x| x as u64);
        self.value.as_u64().or_else(float).ok_or_else(|| self.wrong("a whole number from 0"))
    }

    /// A label: a whole number that a segmentation can hold.
    pub fn label(&self) -> Result<u32, Wrong> {
        u32::try_from(self.count()?).ok().filter(|n| *n <= 65_535).ok_or_else(|| self.wrong("a label from 0 to 65535"))
    }

    /// A truth value; 0 and 1 count.
    pub fn truth(&self) -> Result<bool, Wrong> {
        match (self.value.as_bool(), self.value.as_u64()) {
            (Some(b), _) => Ok(b),
            (None, Some(n @ (0 | 1))) => Ok(n == 1),
            _ => Err(self.wrong("true or false")),
        }
    }

    /// A list of numbers.
    pub fn numbers(&self) -> Result<Vec<f64>, Wrong> {
        self.items()?.iter().map(Field::number).collect()
    }

    /// A list of whole numbers.
    pub fn counts(&self) -> Result<Vec<usize>, Wrong> {
        self.items()?.iter().map(|f| f.count().map(|n| n as usize)).collect()
    }

    /// A patch's extents; the bound is the config's.
    pub fn patch(&self) -> Result<Vec<usize>, Wrong> {
        let extents = self.counts().ok().filter(|e| matches!(e.len(), 2 | 3) && e.iter().all(|n| (1..1 << 20).contains(n)));
        extents.ok_or_else(|| self.wrong(&format!("2 or 3 extents from 1 to {}", (1 << 20) - 1)))
    }

    /// Distances of voxels for a patch of so many axes; a 2-D network's plans may tell the distance of slices as well.
    pub fn spacing(&self, axes: usize) -> Result<Vec<f64>, Wrong> {
        let numbers = self.numbers().ok().filter(|s| (s.len() == 3 || s.len() == axes) && s.iter().all(|x| *x > 0.0));
        numbers.ok_or_else(|| self.wrong("a list of three positive numbers [z, y, x] in mm"))
    }

    /// A label, or a list of them.
    pub fn labels(&self) -> Result<Vec<u32>, Wrong> {
        if self.value.is_array() { self.items()?.iter().map(Field::label).collect() } else { Ok(vec![self.label()?]) }
    }

    /// An arrangement of the axes 0, 1, 2.
    pub fn transpose(&self) -> Result<[usize; 3], Wrong> {
        let axes = <[usize; 3]>::try_from(self.counts()?).ok().filter(|a| (0..3).all(|i| a.contains(&i)));
        axes.ok_or_else(|| self.wrong("the axes 0, 1, 2 in some order"))
    }
}
