//! What every program needs: its outcome, its options, its output.

use std::io::{self, BufWriter, StdoutLock};

/// An exit status, or why there is none of the program's own.
pub type Outcome = Result<i32, Failure>;

#[derive(Debug)]
pub enum Failure {
    /// Printed after the program's name.
    Message(String),
    /// Nothing to say: the reader of a pipe has gone.
    Quiet(i32),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Quiet(141),
            _ => Failure::Message(crate::sh::run::reason(&error)),
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure::Message(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Failure::Message(message.to_string())
    }
}

/// Adds the file that an error is about.
pub trait About<T> {
    fn about(self, what: &str) -> Result<T, Failure>;
}

impl<T> About<T> for io::Result<T> {
    fn about(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| match Failure::from(error) {
            Failure::Message(message) => Failure::Message(format!("{what}: {message}")),
            quiet => quiet,
        })
    }
}

/// Buffered standard output. Flush it: errors at drop are lost.
pub fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Parsed options: letters with their values, and operands.
#[derive(Debug, Default)]
pub struct Parsed {
    pub options: Vec<(char, String)>,
    pub operands: Vec<String>,
}

impl Parsed {
    pub fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(known, _)| *known == letter)
    }

    /// The last value of an option.
    pub fn value(&self, letter: char) -> Option<&str> {
        self.options.iter().rev().find(|(known, _)| *known == letter).map(|(_, value)| value.as_str())
    }

    pub fn number<T: std::str::FromStr>(&self, letter: char, default: T) -> Result<T, Failure> {
        self.value(letter).map_or(Ok(default), |text| {
            text.parse().map_err(|_| Failure::Message(format!("invalid number '{text}' for -{letter}")))
        })
    }
}

/// getopt: `spec` lists the letters, a colon after those that take a value. Options end at `--` or the first operand.
pub fn options(args: &[String], spec: &str) -> Result<Parsed, Failure> {
    let mut parsed = Parsed::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let Some(flags) = arg.strip_prefix('-').filter(|flags| !flags.is_empty()) else {
            parsed.operands.push(arg.clone());
            break;
        };
        if flags == "-" {
            break;
        }
        let letters = flags.char_indices();
        for (at, letter) in letters {
            let known = spec.find(letter).filter(|_| letter != ':');
            let Some(known) = known else {
                return Err(Failure::Message(format!("unrecognized option: {arg}")));
            };
            if !spec[known + 1..].starts_with(':') {
                parsed.options.push((letter, String::new()));
                continue;
            }
            let inline = &flags[at + letter.len_utf8()..];
            let value = if inline.is_empty() { rest.next().cloned() } else { Some(inline.to_string()) };
            let value = value.ok_or_else(|| Failure::Message(format!("option requires an argument -- {letter}")))?;
            parsed.options.push((letter, value));
            break;
        }
    }
    parsed.operands.extend(rest.cloned());
    Ok(parsed)
}

/// Runs `work` per operand; a failure is reported and the rest still done.
pub fn each(name: &str, operands: &[String], mut work: impl FnMut(&str) -> Result<(), Failure>) -> Outcome {
    let mut status = 0;
    for operand in operands {
        match work(operand) {
            Ok(()) => {}
            Err(Failure::Message(message)) => {
                eprintln!("{name}: {message}");
                status = 1;
            }
            Err(quiet) => return Err(quiet),
        }
    }
    Ok(status)
}
