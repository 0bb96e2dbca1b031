//! The table of error codes: what each means and what to do. `mnxc explain-error`, `mnx explain-error` and `docs/errors.md` show it.

mod table;

pub use table::CODES;

/// A kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Stable name such as `volume-0102`: the room that finds the problem, and a number.
    pub code: &'static str,
    /// What is wrong, in a few words; lower case, no final dot.
    pub title: &'static str,
    /// What it means and what to do, in plain sentences.
    pub explanation: &'static str,
    /// A command or a message, where one helps.
    pub example: Option<&'static str>,
}

const fn code(code: &'static str, title: &'static str, explanation: &'static str) -> Code {
    Code { code, title, explanation, example: None }
}

impl Code {
    const fn example(self, example: &'static str) -> Self {
        Self { example: Some(example), ..self }
    }
}

/// The entry of a code.
pub fn find(code: &str) -> Option<&'static Code> {
    CODES.iter().find(|c| c.code == code)
}

/// The code that was probably meant by one that does not exist.
fn nearest(code: &str) -> &'static str {
    // There is no closest of nothing, but the table is not empty.
    CODES.iter().map(|c| c.code).min_by_key(|known| strsim::damerau_levenshtein(code, known)).unwrap_or_default()
}

/// What `explain-error` prints: one code's entry, or without a code the list. The whole `error[plan-0201]` may be given, too.
///
/// # Errors
/// A code that does not exist, with the nearest that does.
pub fn answer(asked: Option<&str>) -> Result<String, String> {
    let Some(asked) = asked else { return Ok(list()) };
    let bare = asked.trim().trim_start_matches("error[").trim_end_matches([']', ':']).to_ascii_lowercase();
    find(&bare).map(text).ok_or_else(|| format!("{asked}: there is no such code; did you mean {}?", nearest(&bare)))
}

/// What a person reads about one code; ends with a newline.
pub fn text(code: &Code) -> String {
    let example = code.example.map_or_else(String::new, |e| format!("\nFor example:\n  {}\n", e.replace('\n', "\n  ")));
    format!("{}: {}\n\n{}\n{example}", code.code, code.title, code.explanation)
}

/// One line for every code, in order.
pub fn list() -> String {
    CODES.iter().map(|c| format!("{:14} {}\n", c.code, c.title)).collect()
}

/// The whole table as a Markdown page.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Error codes\n\n\
         Every error of `mnxc` and `mnx` is one line, `error[CODE]: FILE: what is wrong: value, expected`, with notes below it where\n\
         there is more to say. This page explains every code; `mnxc explain-error CODE` and `mnx explain-error CODE` show one of\n\
         its entries. The page is written by `mnxc explain-error --markdown`.\n\n\
         Exit codes: 0 done, 1 something is wrong with the input or the machine, 2 wrong usage, 101 a bug.\n",
    );
    let mut room = "";
    for c in CODES {
        let own = c.code.split('-').next().unwrap_or_default();
        if own != room {
            room = own;
            out.push_str(&format!("\n## {room}\n"));
        }
        out.push_str(&format!("\n### {}\n\n**{}.** {}\n", c.code, sentence(c.title), c.explanation));
        if let Some(example) = c.example {
            out.push_str(&format!("\n```text\n{example}\n```\n"));
        }
    }
    out
}

/// With a capital at its head.
fn sentence(title: &str) -> String {
    let mut chars = title.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_explained() {
        assert!(CODES.windows(2).all(|w| w[0].code < w[1].code), "sorted, none twice");
        for c in CODES {
            let (room, number) = c.code.split_once('-').unwrap_or_default();
            assert!(!room.is_empty() && number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()), "{}", c.code);
            assert!(c.title.len() >= 12 && !c.title.ends_with('.') && !c.title.contains("  "), "{}", c.code);
            let words = c.explanation.split_whitespace().count();
            assert!(words >= 8 && c.explanation.ends_with('.') && !c.explanation.contains("  "), "{}: {words} words", c.code);
            assert_eq!(find(c.code), Some(c));
            assert!(text(c).starts_with(c.code) && markdown().contains(&format!("### {}\n", c.code)) && list().contains(c.title));
        }
        assert_eq!(find("ir-9999"), None);
    }

    #[test]
    fn a_code_is_found_or_the_nearest_named() {
        assert_eq!(answer(None), Ok(list()));
        let volume = find("volume-0102").map(text);
        assert_eq!(answer(Some("volume-0102")).ok(), volume);
        assert_eq!(answer(Some("error[VOLUME-0102]:")).ok(), volume);
        assert_eq!(answer(Some("volum-0102")), Err("volum-0102: there is no such code; did you mean volume-0102?".to_owned()));
    }

    #[test]
    fn an_entry_as_it_is_read() {
        let c = code("a-0001", "something is wrong", "Mend it.").example("mnx\nmnxc");
        assert_eq!(text(&c), "a-0001: something is wrong\n\nMend it.\n\nFor example:\n  mnx\n  mnxc\n");
    }
}
