//! What a script parses to. Plain owned data, because background jobs run a clone of their part on a thread of their own.

/// Commands in order; `true` marks one that ends with `&`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct List(pub Vec<(AndOr, bool)>);

#[derive(Debug, Clone, PartialEq)]
pub struct AndOr {
    pub first: Pipeline,
    /// `true` is `&&`, `false` is `||`.
    pub rest: Vec<(bool, Pipeline)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    pub negated: bool,
    pub commands: Vec<Command>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub kind: Kind,
    pub redirects: Vec<Redirect>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Simple {
        assignments: Vec<(String, Word)>,
        words: Vec<Word>,
    },
    Subshell(List),
    Group(List),
    /// Conditions and bodies of `if` and `elif`, then `else`.
    If {
        arms: Vec<(List, List)>,
        otherwise: Option<List>,
    },
    Loop {
        until: bool,
        condition: List,
        body: List,
    },
    /// Without `in`, over the positional parameters.
    For {
        name: String,
        words: Option<Vec<Word>>,
        body: List,
    },
    Case {
        subject: Word,
        arms: Vec<(Vec<Word>, List)>,
    },
    Function {
        name: String,
        body: Box<Command>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Redirect {
    pub fd: u32,
    pub action: Action,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Read(Word),
    ReadWrite(Word),
    Write(Word),
    Append(Word),
    /// `>&n`, `<&n`, `>&-`.
    Duplicate(Word),
    Here(Word),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Word(pub Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text; quoted text is neither split nor a pattern.
    Text { text: String, quoted: bool },
    /// `$name`, `${name}`, `${name<op>word}`.
    Parameter { name: String, operation: Option<(String, Word)>, quoted: bool },
    /// `$(…)` and backquotes.
    Command { list: List, quoted: bool },
    /// `$((…))`.
    Arithmetic { expression: Word, quoted: bool },
}

impl Word {
    /// The text, if the word is nothing but unquoted text: only such a word can be a keyword.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Text { text, quoted: false }] => Some(text),
            _ => None,
        }
    }
}
