//! Words to fields: parameters, command and arithmetic substitution, splitting, patterns.
//!
//! Source: POSIX.1-2024, Shell Command Language, section 2.6.

use super::arith;
use super::ast::{Part, Word};
use super::run::{Flow, Shell};
use crate::glob::{self, Ch};

/// Fields under construction. `None` between fields; an empty field exists only if something quoted made it.
#[derive(Default)]
struct Fields {
    done: Vec<Vec<Ch>>,
    open: Option<Vec<Ch>>,
}

impl Fields {
    fn current(&mut self) -> &mut Vec<Ch> {
        self.open.get_or_insert_default()
    }

    fn end(&mut self) {
        self.done.extend(self.open.take());
    }
}

impl Shell {
    /// All words to arguments.
    pub(super) fn fields(&mut self, words: &[Word]) -> Result<Vec<String>, Flow> {
        let mut all = Vec::new();
        for word in words {
            if self.args.is_empty() && is_all_arguments(word) {
                continue;
            }
            let mut fields = Fields::default();
            self.expand(word, true, &mut fields)?;
            fields.end();
            for field in fields.done {
                let paths = glob::paths(&field, &self.cwd);
                if paths.is_empty() {
                    all.push(glob::text(&field));
                } else {
                    all.extend(paths);
                }
            }
        }
        Ok(all)
    }

    /// One word to one string, without splitting: assignments, redirections, `case`.
    pub(super) fn string(&mut self, word: &Word) -> Result<String, Flow> {
        Ok(glob::text(&self.pattern(word)?))
    }

    /// The same, keeping which characters were quoted.
    pub(super) fn pattern(&mut self, word: &Word) -> Result<Vec<Ch>, Flow> {
        let mut fields = Fields::default();
        self.expand(word, false, &mut fields)?;
        fields.end();
        Ok(fields.done.join(&Ch { c: ' ', quoted: true }))
    }

    fn expand(&mut self, word: &Word, split: bool, fields: &mut Fields) -> Result<(), Flow> {
        for (n, part) in word.0.iter().enumerate() {
            match part {
                Part::Text { text, quoted } => {
                    let mut text = text.as_str();
                    if n == 0 && !quoted && (text == "~" || text.starts_with("~/")) {
                        let home = self.value("HOME").unwrap_or_default();
                        fields.current().extend(home.chars().map(|c| Ch { c, quoted: true }));
                        text = &text[1..];
                    }
                    fields.current().extend(text.chars().map(|c| Ch { c, quoted: *quoted }));
                }
                Part::Command { list, quoted } => {
                    let output = self.substitute(list)?;
                    self.insert(output.trim_end_matches('\n'), *quoted, split, fields);
                }
                Part::Arithmetic { expression, quoted } => {
                    let text = self.string(expression)?;
                    let value = arith::evaluate(&text, &|name| self.value(name)).map_err(|error| self.fatal(&error))?;
                    self.insert(&value.to_string(), *quoted, split, fields);
                }
                Part::Parameter { name, operation, quoted } => {
                    self.parameter(name, operation.as_ref(), *quoted, split, fields)?;
                }
            }
        }
        Ok(())
    }

    fn parameter(
        &mut self,
        name: &str,
        operation: Option<&(String, Word)>,
        quoted: bool,
        split: bool,
        fields: &mut Fields,
    ) -> Result<(), Flow> {
        if matches!(name, "@" | "*") && operation.is_none() {
            let separate = name == "@" || !quoted;
            let args = self.args.clone();
            for (n, arg) in args.iter().enumerate() {
                if n > 0 && separate && split {
                    fields.end();
                } else if n > 0 {
                    fields.current().push(Ch { c: ' ', quoted: true });
                }
                self.insert(arg, quoted, split, fields);
            }
            return Ok(());
        }
        let value = self.value(name);
        let Some((operator, word)) = operation else {
            if value.is_none() && self.options.nounset && !"?#@*$!-".contains(name) {
                return Err(self.fatal(&format!("{name}: parameter not set")));
            }
            self.insert(&value.unwrap_or_default(), quoted, split, fields);
            return Ok(());
        };
        // With a colon, empty counts as unset.
        let set = value.clone().filter(|value| !operator.starts_with(':') || !value.is_empty());
        match (operator.trim_start_matches(':'), set) {
            ("-" | "=" | "?", Some(value)) => self.insert(&value, quoted, split, fields),
            ("-", None) => self.expand(word, split && !quoted, fields)?,
            ("=", None) => {
                let value = self.string(word)?;
                self.assign(name, &value)?;
                self.insert(&value, quoted, split, fields);
            }
            ("?", None) => {
                let message = self.string(word)?;
                let message = if message.is_empty() { "parameter not set or null".to_string() } else { message };
                return Err(self.fatal(&format!("{name}: {message}")));
            }
            ("+", Some(_)) => self.expand(word, split && !quoted, fields)?,
            ("+", None) => {}
            ("#len", _) => {
                let length = match name {
                    "@" | "*" => self.args.len(),
                    _ => value.unwrap_or_default().chars().count(),
                };
                self.insert(&length.to_string(), quoted, split, fields);
            }
            (operator, _) => {
                let pattern = self.pattern(word)?;
                let trimmed = trim(&value.unwrap_or_default(), operator, &pattern);
                self.insert(&trimmed, quoted, split, fields);
            }
        }
        Ok(())
    }

    /// Adds the result of an expansion: split at IFS unless it was quoted.
    fn insert(&self, text: &str, quoted: bool, split: bool, fields: &mut Fields) {
        if quoted || !split {
            let field = fields.current();
            field.extend(text.chars().map(|c| Ch { c, quoted }));
            return;
        }
        let separators = self.value("IFS").unwrap_or_else(|| " \t\n".to_string());
        let mut after_mark = false;
        for c in text.chars() {
            if !separators.contains(c) {
                fields.current().push(Ch { c, quoted: false });
                after_mark = false;
            } else if c.is_whitespace() {
                fields.end();
            } else {
                // A visible separator delimits even empty fields.
                if after_mark || fields.open.is_none() && fields.done.is_empty() {
                    fields.current();
                }
                fields.end();
                after_mark = true;
            }
        }
    }
}

/// Whether the word is `"$@"`, the one quoted word that may become no field at all.
fn is_all_arguments(word: &Word) -> bool {
    let parameter = |part: &Part| matches!(part, Part::Parameter { name, operation: None, .. } if name == "@");
    word.0.iter().any(parameter)
        && word.0.iter().all(|part| parameter(part) || matches!(part, Part::Text { text, .. } if text.is_empty()))
}

/// `${x%p}`, `${x%%p}`, `${x#p}`, `${x##p}`.
fn trim(value: &str, operator: &str, pattern: &[Ch]) -> String {
    let chars: Vec<char> = value.chars().collect();
    let cuts: Vec<usize> = match operator {
        "%" => (0..=chars.len()).rev().collect(),
        "##" => (0..=chars.len()).rev().collect(),
        _ => (0..=chars.len()).collect(),
    };
    let suffix = operator.starts_with('%');
    let cut = cuts.into_iter().find(|cut| {
        let part = if suffix { &chars[*cut..] } else { &chars[..*cut] };
        glob::matches(pattern, part)
    });
    match cut {
        Some(cut) if suffix => chars[..cut].iter().collect(),
        Some(cut) => chars[cut..].iter().collect(),
        None => value.to_string(),
    }
}
