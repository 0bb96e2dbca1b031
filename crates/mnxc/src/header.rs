//! The comment lines above a graph's text that mnxc writes: the config the graph came from, so that compilation can
//! stop at any stage and go on from the file with the same result.
//!
//! ```text
//! // mnxc: graph of "small.toml", whose text follows
//! // | variant = "S"
//! // | n_classes = 3
//! graph @MedNeXt-S(%input: f32[1,1,64,64,64]) -> ...
//! ```

use mnx_model::Config;

use crate::report::Outcome;

const TITLE: &str = "// mnxc: graph of ";
const LINE: &str = "// |";

/// A config with the text it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// File name as the user gave it first; names the config in complaints and gives its default name.
    pub file: String,
    /// The TOML text.
    pub text: String,
    /// What it says.
    pub config: Config,
}

impl Origin {
    /// Reads a config's text.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(file: &str, text: &str) -> Outcome<Self> {
        let config = Config::from_toml(text, file)?;
        Ok(Self { file: file.to_string(), text: text.to_string(), config })
    }

    /// The comment lines; they end with a newline.
    pub fn header(&self) -> String {
        // Only the last component: the same config compiled from another directory is the same source.
        let name = std::path::Path::new(&self.file).file_name().map_or(self.file.as_str().into(), |n| n.to_string_lossy());
        let mut out = format!("{TITLE}{name}, whose text follows\n", name = mnx_words::quoted(&name));
        for line in self.text.lines() {
            out.push_str(LINE);
            if !line.is_empty() {
                out.push(' ');
                out.push_str(line);
            }
            out.push('\n');
        }
        out
    }

    /// Finds the header above a graph's text; none if there is none.
    ///
    /// # Errors
    /// A header whose config is wrong.
    pub fn find(graph_text: &str) -> Outcome<Option<Self>> {
        let mut lines = graph_text.lines().take_while(|l| l.trim().is_empty() || l.starts_with("//"));
        let Some(title) = lines.by_ref().find_map(|l| l.strip_prefix(TITLE)) else { return Ok(None) };
        let file = title.rsplit_once('"').and_then(|(name, _)| name.strip_prefix('"')).unwrap_or("config.toml");
        let mut text = String::new();
        for line in lines.map_while(|l| l.strip_prefix(LINE)) {
            text.push_str(line.strip_prefix(' ').unwrap_or(line));
            text.push('\n');
        }
        Self::read(file, &text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_config_survives_the_trip_through_a_graph_file() {
        let text = "# a comment\nvariant = \"S\"\nin_channels = 2\n\nn_classes = 3\n\n[labels]\nbackground = 0\n";
        let origin = Origin::read("some/where/small.toml", text).unwrap();
        let file = format!("// replay: mnxc opt\n{}graph @g() -> () stage=model {{\n}}\n", origin.header());
        let back = Origin::find(&file).unwrap().unwrap();
        assert_eq!((back.file.as_str(), back.text.as_str()), ("small.toml", text));
        assert_eq!(back.config, origin.config);
        assert_eq!(back.header(), origin.header());
    }

    #[test]
    fn a_graph_without_header_has_no_origin_and_a_wrong_header_is_refused() {
        assert!(Origin::find("// a note\ngraph @g() -> () stage=model {\n}\n").unwrap().is_none());
        assert!(Origin::find("// mnxc: graph of \"a.toml\", whose text follows\n// | variant = \"XL\"\ngraph @g").is_err());
    }
}
