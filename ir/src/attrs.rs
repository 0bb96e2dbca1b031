//! Attributes of ops. Each struct lists its fields once; text form and reader follow.

use std::fmt;

use crate::types::DType;

/// An attribute's value in the text form.
#[derive(Debug, Clone, PartialEq)]
pub enum AttrValue {
    /// A number, as written.
    Number(String),
    /// A bare word.
    Word(String),
    /// A quoted string.
    Text(String),
}

impl fmt::Display for AttrValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(s) | Self::Word(s) => f.write_str(s),
            Self::Text(s) => f.write_str(&mnx_words::quoted(s)),
        }
    }
}

/// A type that an attribute can have.
pub trait AttrField: Sized {
    /// The value in text form.
    fn to_attr(&self) -> AttrValue;
    /// From the text form.
    ///
    /// # Errors
    /// What was expected.
    fn from_attr(v: &AttrValue) -> Result<Self, String>;
}

impl AttrField for usize {
    fn to_attr(&self) -> AttrValue {
        AttrValue::Number(self.to_string())
    }
    fn from_attr(v: &AttrValue) -> Result<Self, String> {
        match v {
            AttrValue::Number(s) => s.parse().map_err(|_| format!("expected a non-negative integer, got `{s}`")),
            AttrValue::Word(_) | AttrValue::Text(_) => Err(format!("expected a non-negative integer, got `{v}`")),
        }
    }
}

impl AttrField for f64 {
    fn to_attr(&self) -> AttrValue {
        AttrValue::Number(format!("{self:e}"))
    }
    fn from_attr(v: &AttrValue) -> Result<Self, String> {
        match v {
            AttrValue::Number(s) => match s.parse::<Self>() {
                Ok(x) if x.is_finite() => Ok(x),
                _ => Err(format!("expected a finite number, got `{s}`")),
            },
            AttrValue::Word(_) | AttrValue::Text(_) => Err(format!("expected a number, got `{v}`")),
        }
    }
}

/// Denominator of GRN's ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GrnReduce {
    /// Mean over channels: the official code.
    #[default]
    Mean,
    /// Sum over channels: how some read the MedNeXt-v2 paper.
    Sum,
}

impl AttrField for GrnReduce {
    fn to_attr(&self) -> AttrValue {
        AttrValue::Word(match self {
            Self::Mean => "mean".into(),
            Self::Sum => "sum".into(),
        })
    }
    fn from_attr(v: &AttrValue) -> Result<Self, String> {
        match v {
            AttrValue::Word(w) if w == "mean" => Ok(Self::Mean),
            AttrValue::Word(w) if w == "sum" => Ok(Self::Sum),
            AttrValue::Number(_) | AttrValue::Word(_) | AttrValue::Text(_) => Err(format!("expected mean or sum, got `{v}`")),
        }
    }
}

impl AttrField for DType {
    fn to_attr(&self) -> AttrValue {
        AttrValue::Word(self.to_string())
    }
    fn from_attr(v: &AttrValue) -> Result<Self, String> {
        match v {
            AttrValue::Word(w) => w.parse(),
            AttrValue::Number(_) | AttrValue::Text(_) => Err(format!("expected an element type such as bf16, got `{v}`")),
        }
    }
}

/// Attributes that print as `{name=value, ...}`.
pub trait Attrs: Sized {
    /// Name and value of each, in the order of declaration.
    fn fields(&self) -> Vec<(&'static str, AttrValue)>;
    /// From what the reader found; every field must be there, and no other.
    ///
    /// # Errors
    /// The field at fault and what was expected.
    fn from_fields(given: &[(String, AttrValue)]) -> Result<Self, String>;
}

macro_rules! attrs {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident : $ty:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty),* }
        impl Attrs for $name {
            fn fields(&self) -> Vec<(&'static str, AttrValue)> {
                vec![$((stringify!($field), self.$field.to_attr())),*]
            }
            fn from_fields(given: &[(String, AttrValue)]) -> Result<Self, String> {
                const NAMES: &[&str] = &[$(stringify!($field)),*];
                for (i, (name, _)) in given.iter().enumerate() {
                    if !NAMES.contains(&name.as_str()) {
                        return Err(format!("unknown attribute `{name}`, expected {}", expected(NAMES)));
                    }
                    if given[..i].iter().any(|(other, _)| other == name) {
                        return Err(format!("attribute `{name}` is given twice"));
                    }
                }
                Ok(Self { $($field: {
                    let v = given.iter().find(|(n, _)| n == stringify!($field))
                        .ok_or_else(|| format!("attribute `{}` is missing", stringify!($field)))?;
                    AttrField::from_attr(&v.1).map_err(|e| format!("attribute `{}`: {e}", stringify!($field)))?
                }),* })
            }
        }
    )*};
}

fn expected(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

attrs! {
    /// No attributes.
    NoAttrs {}
    /// A convolution's geometry, the same along every spatial axis.
    ConvAttrs {
        /// Step between outputs (for transposed convolutions: between inputs).
        stride: usize,
        /// Zero padding on both sides.
        pad: usize,
    }
    /// Step of a pointwise convolution, a transposed pointwise convolution or a scatter.
    StrideAttrs {
        /// Step.
        stride: usize,
    }
    /// Group normalisation.
    NormAttrs {
        /// Number of groups; MedNeXt has as many as channels.
        groups: usize,
        /// Added to the variance.
        eps: f64,
    }
    /// Application of stored statistics.
    ApplyAttrs {
        /// Number of groups.
        groups: usize,
    }
    /// Layer normalisation over channels.
    LayerAttrs {
        /// Added to the variance.
        eps: f64,
    }
    /// Rounding to another element type.
    CastAttrs {
        /// Element type of the result, a float type.
        to: DType,
    }
    /// Global response normalisation.
    GrnAttrs {
        /// Added to the denominator.
        eps: f64,
        /// Channel mean (official) or sum.
        reduce: GrnReduce,
    }
}
