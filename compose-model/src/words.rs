//! A command in one text, split into words as a POSIX shell does, without expansion.
use crate::error::Error;

/// The words of a command. Blanks part words; quotes and backslashes keep them together.
///
/// # Errors
/// [`Error::Quote`] when a quote is not closed.
///
/// ```
/// assert_eq!(compose_model::words(r#"sh -c 'echo "a b"' c\ d"#)?, ["sh", "-c", "echo \"a b\"", "c d"]);
/// # Ok::<(), compose_model::Error>(())
/// ```
pub fn words(text: &str) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars().peekable();
    let open = || Error::Quote(text.chars().take(80).collect());
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let held = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('\'') => break,
                        Some(c) => held.push(c),
                        None => return Err(open()),
                    }
                }
            }
            '"' => {
                let held = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('"') => break,
                        Some('\\') => match rest.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => held.push(c),
                            Some('\n') => {}
                            Some(c) => held.extend(['\\', c]),
                            None => return Err(open()),
                        },
                        Some(c) => held.push(c),
                        None => return Err(open()),
                    }
                }
            }
            '\\' => match rest.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(open()),
            },
            '#' if word.is_none() => while rest.next_if(|c| *c != '\n').is_some() {},
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}
