//! Programs over text: cat, head, tail, wc, grep, tee, seq, and the standalone forms of echo, printf and test.

use crate::common::{About, Failure, Outcome, each, options, stdout};
use crate::{sh::jobs, text};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

pub fn echo(args: &[String]) -> Outcome {
    io::stdout().write_all(&text::echo(args))?;
    Ok(0)
}

pub fn printf(args: &[String]) -> Outcome {
    io::stdout().write_all(&text::printf(args)?)?;
    Ok(0)
}

pub fn test(args: &[String]) -> Outcome {
    let tty = |fd| match fd {
        0 => rustix::termios::isatty(io::stdin()),
        1 => rustix::termios::isatty(io::stdout()),
        2 => rustix::termios::isatty(io::stderr()),
        _ => false,
    };
    Ok(i32::from(!text::test(args, Path::new(""), &tty)?))
}

pub fn bracket(args: &[String]) -> Outcome {
    match args.split_last() {
        Some((last, args)) if last == "]" => test(args),
        _ => Err("missing ]".into()),
    }
}

/// A file, or standard input for `-`.
fn open(name: &str) -> Result<Box<dyn Read>, Failure> {
    if name == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(name).about(name)?;
    if file.metadata().about(name)?.is_dir() {
        return Err(format!("{name}: Is a directory").into());
    }
    Ok(Box::new(file))
}

fn or_stdin(operands: Vec<String>) -> Vec<String> {
    if operands.is_empty() { vec!["-".to_string()] } else { operands }
}

pub fn cat(args: &[String]) -> Outcome {
    let parsed = options(args, "nu")?;
    let mut number = 0;
    each("cat", &or_stdin(parsed.operands.clone()), |name| {
        let mut reader = open(name)?;
        if !parsed.has('n') {
            // Unbuffered: what comes through a pipe is passed on at once.
            let mut buffer = [0; 64 * 1024];
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(n) => io::stdout().write_all(&buffer[..n]).and_then(|()| io::stdout().flush())?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).about(name),
                }
            }
        }
        let mut out = stdout();
        for line in BufReader::new(reader).split(b'\n') {
            number += 1;
            write!(out, "{number:6}\t")?;
            out.write_all(&line.about(name)?)?;
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    })
}

/// `-5` for `-n 5`.
fn counts(args: &[String]) -> Vec<String> {
    let mut args = args.to_vec();
    if let Some(count) = args.first().and_then(|arg| arg.strip_prefix('-')).filter(|n| n.parse::<u64>().is_ok()) {
        args[0] = format!("-n{count}");
    }
    args
}

fn heading(out: &mut impl Write, operands: &[String], name: &str) -> io::Result<()> {
    if operands.len() > 1 {
        writeln!(out, "==> {name} <==")?;
    }
    Ok(())
}

pub fn head(args: &[String]) -> Outcome {
    let parsed = options(&counts(args), "n:c:")?;
    let operands = or_stdin(parsed.operands.clone());
    let (lines, bytes) = (parsed.number('n', 10u64)?, parsed.number('c', u64::MAX)?);
    each("head", &operands, |name| {
        let mut out = stdout();
        heading(&mut out, &operands, name)?;
        let mut reader = BufReader::new(open(name)?);
        if parsed.has('c') {
            io::copy(&mut reader.take(bytes), &mut out)?;
            return Ok(out.flush()?);
        }
        let mut line = Vec::new();
        for _ in 0..lines {
            line.clear();
            if reader.read_until(b'\n', &mut line).about(name)? == 0 {
                break;
            }
            out.write_all(&line)?;
        }
        Ok(out.flush()?)
    })
}

pub fn tail(args: &[String]) -> Outcome {
    let parsed = options(&counts(args), "n:c:fF")?;
    let operands = or_stdin(parsed.operands.clone());
    let text = parsed.value('n').unwrap_or("10");
    let (from_start, count) = match text.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, text.trim_start_matches('-')),
    };
    let count: usize = count.parse().map_err(|_| Failure::Message(format!("invalid number '{text}'")))?;
    let bytes = parsed.number('c', usize::MAX)?;
    let mut seen = 0;
    let status = each("tail", &operands, |name| {
        let mut out = stdout();
        heading(&mut out, &operands, name)?;
        let mut content = Vec::new();
        open(name)?.read_to_end(&mut content).about(name)?;
        seen = content.len() as u64;
        let start = if parsed.has('c') {
            content.len().saturating_sub(bytes)
        } else if from_start {
            line_start(&content, count.saturating_sub(1))
        } else {
            let lines = content.split_inclusive(|byte| *byte == b'\n').count();
            line_start(&content, lines.saturating_sub(count))
        };
        out.write_all(&content[start..])?;
        Ok(out.flush()?)
    })?;
    if !(parsed.has('f') || parsed.has('F')) || status != 0 {
        return Ok(status);
    }
    jobs::die_on_termination();
    match operands.as_slice() {
        [name] if name != "-" => follow(name, seen),
        _ => Err("-f follows exactly one file".into()),
    }
}

fn line_start(content: &[u8], lines: usize) -> usize {
    content.split_inclusive(|byte| *byte == b'\n').take(lines).map(<[u8]>::len).sum()
}

/// Prints what is appended, for ever; starts over when the file shrinks or is replaced.
fn follow(name: &str, mut at: u64) -> Outcome {
    let mut inode = None;
    loop {
        if let Ok(mut file) = File::open(name) {
            let meta = file.metadata().about(name)?;
            if meta.len() < at || inode.is_some_and(|old| old != meta.ino()) {
                at = 0;
            }
            inode = Some(meta.ino());
            file.seek(SeekFrom::Start(at)).about(name)?;
            at += io::copy(&mut file, &mut io::stdout())?;
            io::stdout().flush()?;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

pub fn wc(args: &[String]) -> Outcome {
    let parsed = options(args, "lwc")?;
    let named = !parsed.operands.is_empty();
    let operands = or_stdin(parsed.operands.clone());
    let all = parsed.options.is_empty();
    let mut total = [0; 3];
    let show = |counts: [usize; 3], name: &str| {
        let wanted = ['l', 'w', 'c'].iter().zip(counts).filter(|(letter, _)| all || parsed.has(**letter));
        let columns: Vec<_> = wanted.map(|(_, count)| count.to_string()).collect();
        let suffix = if named { format!(" {name}") } else { String::new() };
        writeln!(io::stdout(), "{}{suffix}", columns.join(" "))
    };
    let status = each("wc", &operands, |name| {
        let mut content = Vec::new();
        open(name)?.read_to_end(&mut content).about(name)?;
        let lines = content.iter().filter(|byte| **byte == b'\n').count();
        let words = content.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
        let counts = [lines, words, content.len()];
        for (sum, count) in total.iter_mut().zip(counts) {
            *sum += count;
        }
        Ok(show(counts, name)?)
    })?;
    if operands.len() > 1 {
        show(total, "total")?;
    }
    Ok(status)
}

pub fn tee(args: &[String]) -> Outcome {
    let parsed = options(args, "a")?;
    let mut files = Vec::new();
    for name in &parsed.operands {
        let append = parsed.has('a');
        let file = File::options().create(true).write(true).append(append).truncate(!append).open(name);
        files.push(file.about(name)?);
    }
    let mut buffer = [0; 64 * 1024];
    loop {
        let n = io::stdin().read(&mut buffer)?;
        if n == 0 {
            return Ok(0);
        }
        files.iter_mut().try_for_each(|file| file.write_all(&buffer[..n]))?;
        io::stdout().write_all(&buffer[..n])?;
        io::stdout().flush()?;
    }
}

/// `seq [first [step]] last`
pub fn seq(args: &[String]) -> Outcome {
    let number = |text: &String| text.parse::<i64>().map_err(|_| Failure::Message(format!("invalid number '{text}'")));
    let (first, step, last) = match args {
        [last] => (1, 1, number(last)?),
        [first, last] => (number(first)?, 1, number(last)?),
        [first, step, last] => (number(first)?, number(step)?, number(last)?),
        _ => return Err("usage: seq [first [step]] last".into()),
    };
    if step == 0 {
        return Err("step is zero".into());
    }
    let mut out = stdout();
    let mut at = first;
    while (step > 0 && at <= last) || (step < 0 && at >= last) {
        writeln!(out, "{at}")?;
        at += step;
    }
    out.flush()?;
    Ok(0)
}

/// Fixed strings (`-F`) and basic regular expressions.
pub fn grep(args: &[String]) -> Outcome {
    let mut parsed = options(args, "FEGivclnqorhse:")?;
    let pattern = match parsed.value('e') {
        Some(pattern) => pattern.to_string(),
        None if parsed.operands.is_empty() => return Err("usage: grep [-Ficlnqov] pattern [file…]".into()),
        None => parsed.operands.remove(0),
    };
    if parsed.has('r') {
        return Err("-r is not supported".into());
    }
    let fold = |text: &str| if parsed.has('i') { text.to_lowercase() } else { text.to_string() };
    let pattern = fold(&pattern);
    let matchers: Vec<Matcher> = pattern
        .split('\n')
        .map(|line| Matcher::new(line, parsed.has('F'), parsed.has('E')))
        .collect::<Result<_, _>>()?;
    let operands = or_stdin(parsed.operands.clone());
    let prefix = operands.len() > 1 && !parsed.has('h');
    let mut found = false;
    let status = each("grep", &operands, |name| {
        let mut out = stdout();
        let mut count = 0;
        for (n, line) in BufReader::new(open(name)?).split(b'\n').enumerate() {
            let line = String::from_utf8_lossy(&line.about(name)?).into_owned();
            let hits: Vec<(usize, usize)> = {
                let text: Vec<char> = fold(&line).chars().collect();
                matchers.iter().filter_map(|matcher| matcher.find(&text)).collect()
            };
            if hits.is_empty() != parsed.has('v') {
                continue;
            }
            count += 1;
            if parsed.has('q') {
                std::process::exit(0);
            }
            if parsed.has('c') || parsed.has('l') {
                continue;
            }
            let label = if prefix { format!("{name}:") } else { String::new() };
            let number = if parsed.has('n') { format!("{}:", n + 1) } else { String::new() };
            let shown = match hits.first() {
                Some((start, end)) if parsed.has('o') => line.chars().skip(*start).take(end - start).collect(),
                _ => line,
            };
            writeln!(out, "{label}{number}{shown}")?;
            out.flush()?;
        }
        found |= count > 0;
        if parsed.has('l') && count > 0 {
            writeln!(out, "{name}")?;
        } else if parsed.has('c') {
            let label = if prefix { format!("{name}:") } else { String::new() };
            writeln!(out, "{label}{count}")?;
        }
        Ok(out.flush()?)
    })?;
    Ok(if status != 0 { 2 } else { i32::from(!found) })
}

enum Matcher {
    Fixed(Vec<char>),
    Regex { items: Vec<Item>, start: bool, end: bool },
}

/// One element of an expression: what it takes, and whether any number of it.
struct Item {
    set: Set,
    least: usize,
    most: usize,
}

enum Set {
    Any,
    One(char),
    Class { members: Vec<(char, char)>, negated: bool },
}

impl Matcher {
    fn new(pattern: &str, fixed: bool, extended: bool) -> Result<Self, Failure> {
        if fixed {
            return Ok(Matcher::Fixed(pattern.chars().collect()));
        }
        let mut chars = pattern.chars().peekable();
        let start = chars.next_if_eq(&'^').is_some();
        let (mut items, mut end) = (Vec::<Item>::new(), false);
        while let Some(c) = chars.next() {
            let repeat = match c {
                '*' if !items.is_empty() => Some((0, usize::MAX)),
                '+' if extended && !items.is_empty() => Some((1, usize::MAX)),
                '?' if extended && !items.is_empty() => Some((0, 1)),
                _ => None,
            };
            if let (Some((least, most)), Some(last)) = (repeat, items.last_mut()) {
                (last.least, last.most) = (least, most);
                continue;
            }
            let set = match c {
                '$' if chars.peek().is_none() => {
                    end = true;
                    break;
                }
                '.' => Set::Any,
                '[' => class(&mut chars)?,
                '(' | ')' | '|' | '{' if extended => {
                    return Err(format!("'{c}' in extended expressions is not supported").into());
                }
                '\\' => match chars.next() {
                    Some(c @ ('(' | ')' | '{' | '|')) if !extended => {
                        return Err(format!("'\\{c}' in expressions is not supported").into());
                    }
                    Some(c) => Set::One(c),
                    None => return Err("trailing backslash".into()),
                },
                c => Set::One(c),
            };
            items.push(Item { set, least: 1, most: 1 });
        }
        Ok(Matcher::Regex { items, start, end })
    }

    /// Start and end of the first match, in characters.
    fn find(&self, text: &[char]) -> Option<(usize, usize)> {
        match self {
            Matcher::Fixed(needle) if needle.is_empty() => Some((0, 0)),
            Matcher::Fixed(needle) => {
                text.windows(needle.len()).position(|window| window == needle).map(|at| (at, at + needle.len()))
            }
            Matcher::Regex { items, start, end } => (0..=if *start { 0 } else { text.len() })
                .find_map(|from| take(items, *end, text, from).map(|to| (from, to))),
        }
    }
}

/// The longest match of `items` from `at`, by backtracking.
fn take(items: &[Item], end: bool, text: &[char], at: usize) -> Option<usize> {
    let Some((item, rest)) = items.split_first() else { return (!end || at == text.len()).then_some(at) };
    let accepts = |c: &char| match &item.set {
        Set::Any => true,
        Set::One(wanted) => wanted == c,
        Set::Class { members, negated } => members.iter().any(|(from, to)| (from..=to).contains(&c)) != *negated,
    };
    let available = text[at..].iter().take(item.most).take_while(|c| accepts(c)).count();
    (item.least..=available).rev().find_map(|n| take(rest, end, text, at + n))
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Set, Failure> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut members = Vec::new();
    loop {
        let c = chars.next().ok_or("unmatched [")?;
        if c == ']' && !members.is_empty() {
            return Ok(Set::Class { members, negated });
        }
        if c == '[' && chars.peek() == Some(&':') {
            let name: String = chars.by_ref().skip(1).take_while(|c| *c != ':').collect();
            chars.next();
            members.extend(match name.as_str() {
                "digit" => vec![('0', '9')],
                "alpha" => vec![('a', 'z'), ('A', 'Z')],
                "alnum" => vec![('a', 'z'), ('A', 'Z'), ('0', '9')],
                "space" => vec![('\t', '\r'), (' ', ' ')],
                "upper" => vec![('A', 'Z')],
                "lower" => vec![('a', 'z')],
                other => return Err(format!("unknown class {other}").into()),
            });
            continue;
        }
        let mut to = c;
        let mut ahead = chars.clone();
        if ahead.next() == Some('-') && ahead.peek().is_some_and(|c| *c != ']') {
            chars.next();
            to = chars.next().unwrap_or(c);
        }
        members.push((c, to));
    }
}
