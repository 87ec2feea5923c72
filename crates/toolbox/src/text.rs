//! `echo`, `printf` and `test` as functions: they are programs and shell builtins at once.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// `echo [-n] [-e] words…`
pub fn echo(args: &[String]) -> Vec<u8> {
    let (mut newline, mut escapes, mut rest) = (true, false, args);
    while let Some(flags) = rest.first().and_then(|arg| arg.strip_prefix('-')) {
        if flags.is_empty() || !flags.chars().all(|c| "neE".contains(c)) {
            break;
        }
        newline &= !flags.contains('n');
        escapes = if flags.contains('E') { false } else { escapes || flags.contains('e') };
        rest = &rest[1..];
    }
    let mut text = rest.join(" ");
    if escapes {
        text = unescape(&text);
    }
    if newline {
        text.push('\n');
    }
    text.into_bytes()
}

/// `printf format words…`; the format is used again until all words are.
pub fn printf(args: &[String]) -> Result<Vec<u8>, String> {
    let (format, mut words) = args.split_first().ok_or("format required")?;
    let mut out = String::new();
    loop {
        let before = words.len();
        words = format_once(format, words, &mut out)?;
        if words.is_empty() || words.len() == before {
            return Ok(out.into_bytes());
        }
    }
}

fn format_once<'a>(format: &str, mut words: &'a [String], out: &mut String) -> Result<&'a [String], String> {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&unescape(&rest[..at]));
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or("missing format character")?;
        let (spec, kind) = (&rest[..end], rest[end..].chars().next().unwrap_or('s'));
        rest = &rest[end + 1..];
        let word = words.first().map_or("", String::as_str);
        words = words.get(1..).unwrap_or(&[]);
        let left = spec.contains('-');
        let digits = spec.trim_start_matches(['-', '+', ' ', '0', '#']);
        let (width, precision) = digits.split_once('.').map_or((digits, None), |(w, p)| (w, Some(p)));
        let width: usize = width.parse().unwrap_or(0).min(4096);
        let precision: Option<usize> = precision.map(|p| p.parse().unwrap_or(0));
        let zero = !left && spec.trim_start_matches(['+', ' ', '#']).starts_with('0');
        let text = match kind {
            's' => word.chars().take(precision.unwrap_or(usize::MAX)).collect(),
            'b' => unescape(word),
            'c' => word.chars().take(1).collect(),
            'd' | 'i' | 'u' => {
                let value = integer(word)?;
                if spec.contains('+') && value >= 0 { format!("+{value}") } else { value.to_string() }
            }
            'x' => format!("{:x}", integer(word)?),
            'X' => format!("{:X}", integer(word)?),
            'o' => format!("{:o}", integer(word)?),
            'f' => {
                let value: f64 = if word.is_empty() { 0.0 } else { word.parse().map_err(|_| invalid(word))? };
                format!("{value:.*}", precision.unwrap_or(6).min(64))
            }
            other => return Err(format!("%{other}: invalid format")),
        };
        let pad = width.saturating_sub(text.chars().count());
        match (left, zero && kind != 's') {
            (true, _) => out.push_str(&format!("{text}{}", " ".repeat(pad))),
            (false, true) => {
                let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
                out.push_str(&format!("{sign}{}{digits}", "0".repeat(pad)));
            }
            (false, false) => out.push_str(&format!("{}{text}", " ".repeat(pad))),
        }
    }
    out.push_str(&unescape(rest));
    Ok(words)
}

fn integer(word: &str) -> Result<i64, String> {
    if let Some(c) = word.strip_prefix(['\'', '"']) {
        return Ok(c.chars().next().map_or(0, |c| i64::from(u32::from(c))));
    }
    match word.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).map_err(|_| invalid(word)),
        None if word.is_empty() => Ok(0),
        None => word.parse().map_err(|_| invalid(word)),
    }
}

fn invalid(word: &str) -> String {
    format!("{word}: invalid number")
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('a') => out.push('\x07'),
            Some('b') => out.push('\x08'),
            Some('e') => out.push('\x1b'),
            Some('f') => out.push('\x0c'),
            Some('v') => out.push('\x0b'),
            Some('\\') => out.push('\\'),
            Some(first @ '0'..='7') => {
                let mut value = first.to_digit(8).unwrap_or(0);
                for _ in 0..if first == '0' { 3 } else { 2 } {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else { break };
                    value = value * 8 + digit;
                    chars.next();
                }
                out.push(char::from(value as u8));
            }
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// `test`: `tty` answers `-t`. Source: POSIX test, with `-a`, `-o` and parentheses.
pub fn test(args: &[String], cwd: &Path, tty: &dyn Fn(u32) -> bool) -> Result<bool, String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    // POSIX decides short forms by their number of words, so that `[ "$x" = … ]` is safe for any $x.
    match words.as_slice() {
        [] => return Ok(false),
        [word] => return Ok(!word.is_empty()),
        ["!", word] => return Ok(word.is_empty()),
        [left, operator, right] if is_binary(operator) => return binary(left, operator, right, cwd),
        _ => {}
    }
    let mut parser = Test { words: &words, at: 0, cwd, tty };
    let value = parser.or()?;
    if parser.at < words.len() {
        return Err(format!("{}: unexpected operator", words[parser.at]));
    }
    Ok(value)
}

struct Test<'a> {
    words: &'a [&'a str],
    at: usize,
    cwd: &'a Path,
    tty: &'a dyn Fn(u32) -> bool,
}

impl Test<'_> {
    fn eat(&mut self, word: &str) -> bool {
        let found = self.words.get(self.at) == Some(&word);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Result<bool, String> {
        let mut value = self.and()?;
        while self.eat("-o") {
            value |= self.and()?;
        }
        Ok(value)
    }

    fn and(&mut self) -> Result<bool, String> {
        let mut value = self.not()?;
        while self.eat("-a") {
            value &= self.not()?;
        }
        Ok(value)
    }

    fn not(&mut self) -> Result<bool, String> {
        let mut negated = false;
        while self.at + 1 < self.words.len() && self.eat("!") {
            negated = !negated;
        }
        Ok(self.primary()? != negated)
    }

    fn primary(&mut self) -> Result<bool, String> {
        let rest = &self.words[self.at..];
        match rest {
            [left, operator, right, ..] if is_binary(operator) => {
                self.at += 3;
                binary(left, operator, right, self.cwd)
            }
            ["(", _, ..] => {
                self.at += 1;
                let value = self.or()?;
                if self.eat(")") { Ok(value) } else { Err("missing )".into()) }
            }
            [operator, operand, ..] if operator.len() == 2 && operator.starts_with('-') => {
                self.at += 2;
                self.unary(operator, operand)
            }
            [word, ..] => {
                self.at += 1;
                Ok(!word.is_empty())
            }
            [] => Err("argument expected".into()),
        }
    }

    fn unary(&self, operator: &str, operand: &str) -> Result<bool, String> {
        let path = self.cwd.join(operand);
        let meta = path.metadata();
        let kind = |wanted: fn(&std::fs::Metadata) -> bool| meta.as_ref().is_ok_and(wanted);
        let access = |access| rustix::fs::access(&path, access).is_ok();
        Ok(match operator {
            "-n" => !operand.is_empty(),
            "-z" => operand.is_empty(),
            "-e" | "-a" => meta.is_ok(),
            "-f" => kind(|meta| meta.is_file()),
            "-d" => kind(|meta| meta.is_dir()),
            "-s" => kind(|meta| meta.len() > 0),
            "-p" => kind(|meta| meta.file_type().is_fifo()),
            "-S" => kind(|meta| meta.file_type().is_socket()),
            "-b" => kind(|meta| meta.file_type().is_block_device()),
            "-c" => kind(|meta| meta.file_type().is_char_device()),
            "-u" => kind(|meta| meta.mode() & 0o4000 != 0),
            "-h" | "-L" => path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()),
            "-r" => access(rustix::fs::Access::READ_OK),
            "-w" => access(rustix::fs::Access::WRITE_OK),
            "-x" => access(rustix::fs::Access::EXEC_OK),
            "-t" => operand.parse().is_ok_and(|fd| (self.tty)(fd)),
            other => return Err(format!("{other}: unknown operator")),
        })
    }
}

fn is_binary(operator: &str) -> bool {
    matches!(
        operator,
        "=" | "==" | "!=" | "<" | ">" | "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" | "-nt" | "-ot" | "-ef"
    )
}

fn binary(left: &str, operator: &str, right: &str, cwd: &Path) -> Result<bool, String> {
    let numbers = || Ok::<_, String>((number(left)?, number(right)?));
    let times = || {
        let time = |name: &str| cwd.join(name).metadata().and_then(|meta| meta.modified()).ok();
        (time(left), time(right))
    };
    let inode = |name: &str| cwd.join(name).metadata().map(|meta| (meta.dev(), meta.ino())).ok();
    Ok(match operator {
        "=" | "==" => left == right,
        "!=" => left != right,
        "<" => left < right,
        ">" => left > right,
        "-nt" => times().0 > times().1,
        "-ot" => times().0 < times().1,
        "-ef" => inode(left).is_some() && inode(left) == inode(right),
        "-eq" => numbers().map(|(a, b)| a == b)?,
        "-ne" => numbers().map(|(a, b)| a != b)?,
        "-lt" => numbers().map(|(a, b)| a < b)?,
        "-le" => numbers().map(|(a, b)| a <= b)?,
        "-gt" => numbers().map(|(a, b)| a > b)?,
        _ => numbers().map(|(a, b)| a >= b)?,
    })
}

fn number(word: &str) -> Result<i64, String> {
    word.trim().parse().map_err(|_| format!("{word}: bad number"))
}
