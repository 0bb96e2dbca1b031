//! Options of a pass in a textual pipeline: `form-dispatches{max-ops=8,fuse-head=false}`.

use std::fmt;
use std::str::FromStr;

use crate::error::{PassError, nearest};

/// An option that a pass takes.
#[derive(Debug, Clone, Copy)]
pub struct OptionInfo {
    /// Name: kebab-case.
    pub name: &'static str,
    /// Value if not given, as `list passes` prints it.
    pub default: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
}

/// The options written for one pass, checked against those it takes.
#[derive(Debug, Clone)]
pub struct Options {
    pass: String,
    given: Vec<(String, String)>,
}

impl Options {
    /// Options as written.
    ///
    /// # Errors
    /// If one is unknown to the pass, or given twice.
    pub fn new(pass: &str, given: Vec<(String, String)>, known: &[OptionInfo]) -> Result<Self, PassError> {
        for (i, (name, _)) in given.iter().enumerate() {
            let reason = if !known.iter().any(|o| o.name == name) {
                let names: Vec<&str> = known.iter().map(|o| o.name).collect();
                let takes = if names.is_empty() { "it takes none".to_string() } else { format!("it takes {}", names.join(", ")) };
                format!("unknown option `{name}`: {takes}{}", nearest(name, names.iter().copied()))
            } else if given[..i].iter().any(|(other, _)| other == name) {
                format!("option `{name}` is given twice")
            } else {
                continue;
            };
            return Err(PassError::Option { pass: pass.to_string(), reason });
        }
        Ok(Self { pass: pass.to_string(), given })
    }

    /// An option's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, PassError> {
        self.text(name)
            .map(|v| {
                v.parse().map_err(|_| PassError::Option {
                    pass: self.pass.clone(),
                    reason: format!("option `{name}`: expected {expected}, got `{v}`"),
                })
            })
            .transpose()
    }

    /// An option that is `true` or `false`.
    ///
    /// # Errors
    /// If it is neither.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, PassError> {
        Ok(self.parsed(name, "true or false")?.unwrap_or(default))
    }

    /// An option that is a positive whole number.
    ///
    /// # Errors
    /// If it is not.
    pub fn count(&self, name: &str) -> Result<Option<usize>, PassError> {
        Ok(self.parsed::<std::num::NonZeroUsize>(name, "a positive whole number")?.map(std::num::NonZeroUsize::get))
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.given.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { "{" } else { "," })?;
        }
        if self.given.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}
