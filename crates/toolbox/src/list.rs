//! `ls` and `stat`.

use crate::common::{About, Failure, Outcome, each, options, stdout};
use crate::system::{group_name, user_name};
use jiff::Timestamp;
use std::fs::{self, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `ls [-1aAlhdR] [file…]`; one name per line, since nobody parses columns.
pub fn ls(args: &[String]) -> Outcome {
    let parsed = options(args, "1aAlhdRn")?;
    let operands = if parsed.operands.is_empty() { vec![".".to_string()] } else { parsed.operands.clone() };
    let mut out = stdout();
    let listing = Listing {
        hidden: parsed.has('a') || parsed.has('A'),
        dots: parsed.has('a'),
        long: parsed.has('l') || parsed.has('n'),
        numeric: parsed.has('n'),
        human: parsed.has('h'),
        recursive: parsed.has('R'),
    };
    let headed = operands.len() > 1 || listing.recursive;
    let (mut directories, mut files) = (Vec::new(), Vec::new());
    let status = each("ls", &operands, |name| {
        let link = Path::new(name).symlink_metadata().about(name)?;
        // A link to a directory is followed, but not by the long form.
        let meta = if link.is_symlink() && !listing.long { Path::new(name).metadata().unwrap_or(link) } else { link };
        let list = if meta.is_dir() && !parsed.has('d') { &mut directories } else { &mut files };
        list.push(PathBuf::from(name));
        Ok(())
    })?;
    let entries: Vec<_> = files.into_iter().map(|path| (path.display().to_string(), path)).collect();
    listing.print(&mut out, &entries)?;
    for (n, directory) in directories.iter().enumerate() {
        if headed {
            writeln!(out, "{}{}:", if n > 0 || !entries.is_empty() { "\n" } else { "" }, directory.display())?;
        }
        listing.directory(&mut out, directory)?;
    }
    out.flush()?;
    Ok(status)
}

struct Listing {
    hidden: bool,
    dots: bool,
    long: bool,
    numeric: bool,
    human: bool,
    recursive: bool,
}

impl Listing {
    fn directory(&self, out: &mut impl Write, path: &Path) -> Result<(), Failure> {
        let about = path.display().to_string();
        let mut entries = Vec::new();
        if self.dots {
            entries.extend([(".".to_string(), path.join(".")), ("..".to_string(), path.join(".."))]);
        }
        for entry in fs::read_dir(path).about(&about)? {
            let entry = entry.about(&about)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.hidden || !name.starts_with('.') {
                entries.push((name, entry.path()));
            }
        }
        entries.sort();
        self.print(out, &entries)?;
        if self.recursive {
            let inner = |(name, path): &&(String, PathBuf)| {
                !matches!(name.as_str(), "." | "..") && path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
            };
            for (_, path) in entries.iter().filter(inner) {
                write!(out, "\n{}:\n", path.display())?;
                self.directory(out, path)?;
            }
        }
        Ok(())
    }

    fn print(&self, out: &mut impl Write, entries: &[(String, PathBuf)]) -> Result<(), Failure> {
        if !self.long {
            entries.iter().try_for_each(|(name, _)| writeln!(out, "{name}"))?;
            return Ok(());
        }
        for (name, path) in entries {
            // Gone since it was listed.
            let Ok(meta) = path.symlink_metadata() else { continue };
            let target = match fs::read_link(path) {
                Ok(target) if meta.is_symlink() => format!(" -> {}", target.display()),
                _ => String::new(),
            };
            let (user, group) = if self.numeric {
                (meta.uid().to_string(), meta.gid().to_string())
            } else {
                (user_name(meta.uid()), group_name(meta.gid()))
            };
            let size = if self.human { human(meta.len()) } else { meta.len().to_string() };
            let (mode, links, when) = (mode(&meta), meta.nlink(), time(&meta, "%b %e %H:%M %Y"));
            writeln!(out, "{mode} {links:>4} {user:<8} {group:<8} {size:>9} {when} {name}{target}")?;
        }
        Ok(())
    }
}

/// `stat [-c format] file…` with %n %s %a %u %g %U %G %F %Y %i %h.
pub fn stat(args: &[String]) -> Outcome {
    let parsed = options(args, "c:")?;
    let format = parsed.value('c').unwrap_or("%n: %F, %s bytes, mode %a, owner %U:%G, inode %i, links %h, modified %y");
    let mut out = stdout();
    let status = each("stat", &parsed.operands, |name| {
        let meta = Path::new(name).symlink_metadata().about(name)?;
        let mut text = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            text += &match chars.next() {
                Some('n') => name.to_string(),
                Some('s') => meta.len().to_string(),
                Some('a') => format!("{:o}", meta.mode() & 0o7777),
                Some('A') => mode(&meta),
                Some('u') => meta.uid().to_string(),
                Some('g') => meta.gid().to_string(),
                Some('U') => user_name(meta.uid()),
                Some('G') => group_name(meta.gid()),
                Some('F') => kind(&meta).1.to_string(),
                Some('Y') => meta.mtime().to_string(),
                Some('y') => time(&meta, "%Y-%m-%d %H:%M:%S"),
                Some('i') => meta.ino().to_string(),
                Some('h') => meta.nlink().to_string(),
                Some('%') => "%".to_string(),
                other => return Err(format!("unknown format %{}", other.unwrap_or(' ')).into()),
            };
        }
        Ok(writeln!(out, "{text}")?)
    })?;
    out.flush()?;
    Ok(status)
}

fn kind(meta: &Metadata) -> (char, &'static str) {
    match meta.mode() & 0o170000 {
        0o040000 => ('d', "directory"),
        0o120000 => ('l', "symbolic link"),
        0o020000 => ('c', "character special file"),
        0o060000 => ('b', "block special file"),
        0o010000 => ('p', "fifo"),
        0o140000 => ('s', "socket"),
        _ => ('-', "regular file"),
    }
}

/// `-rwxr-xr-x`
fn mode(meta: &Metadata) -> String {
    let bits = meta.mode();
    let mut text = kind(meta).0.to_string();
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let part = bits >> shift;
        text.push(if part & 4 != 0 { 'r' } else { '-' });
        text.push(if part & 2 != 0 { 'w' } else { '-' });
        text.push(match (part & 1 != 0, bits & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn time(meta: &Metadata, format: &str) -> String {
    let stamp = Timestamp::from_second(meta.mtime()).unwrap_or(Timestamp::UNIX_EPOCH);
    stamp.strftime(format).to_string()
}

fn human(size: u64) -> String {
    let mut value = size as f64;
    for unit in ["", "K", "M", "G"] {
        if value < 1024.0 {
            return if unit.is_empty() { size.to_string() } else { format!("{value:.1}{unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1}T")
}
