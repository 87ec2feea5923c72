//! Programs that change files: cp, mv, rm, ln, mkdir, rmdir, touch, readlink.

use crate::common::{About, Failure, Outcome, each, options};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub fn mkdir(args: &[String]) -> Outcome {
    let parsed = options(args, "pm:")?;
    let mode = parsed.value('m').map(|text| u32::from_str_radix(text, 8));
    let mode = mode.transpose().map_err(|_| Failure::from("invalid mode"))?;
    each("mkdir", &parsed.operands, |name| {
        if parsed.has('p') { fs::create_dir_all(name) } else { fs::create_dir(name) }.about(name)?;
        mode.map_or(Ok(()), |mode| fs::set_permissions(name, PermissionsExt::from_mode(mode)).about(name))
    })
}

pub fn rmdir(args: &[String]) -> Outcome {
    each("rmdir", &options(args, "")?.operands, |name| fs::remove_dir(name).about(name))
}

pub fn rm(args: &[String]) -> Outcome {
    let parsed = options(args, "rRf")?;
    let recursive = parsed.has('r') || parsed.has('R');
    each("rm", &parsed.operands, |name| {
        if Path::new(name).file_name().is_none() {
            return Err(format!("refusing to remove '{name}'").into());
        }
        let removed = match fs::symlink_metadata(name) {
            Ok(meta) if meta.is_dir() && recursive => fs::remove_dir_all(name),
            Ok(meta) if meta.is_dir() => return Err(format!("{name}: Is a directory").into()),
            Ok(_) => fs::remove_file(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound && parsed.has('f') => Ok(()),
            Err(error) => Err(error),
        };
        removed.about(name)
    })
}

pub fn touch(args: &[String]) -> Outcome {
    let parsed = options(args, "c")?;
    each("touch", &parsed.operands, |name| {
        let opened = File::options().write(true).create(!parsed.has('c')).truncate(false).open(name);
        match opened {
            Ok(file) => file.set_modified(SystemTime::now()).about(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound && parsed.has('c') => Ok(()),
            // A directory opens for reading only.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                File::open(name).and_then(|dir| dir.set_modified(SystemTime::now())).about(name)
            }
            Err(error) => Err(error).about(name),
        }
    })
}

/// Splits operands into sources and a target, and says where each source goes.
fn targets(operands: &[String]) -> Result<Vec<(PathBuf, PathBuf)>, Failure> {
    let (target, sources) =
        operands.split_last().filter(|(_, sources)| !sources.is_empty()).ok_or("missing operand")?;
    let directory = Path::new(target).is_dir();
    if !directory && sources.len() > 1 {
        return Err(format!("{target}: Not a directory").into());
    }
    sources
        .iter()
        .map(|source| {
            let name = Path::new(source).file_name().unwrap_or_default();
            let to = if directory { Path::new(target).join(name) } else { PathBuf::from(target) };
            Ok((PathBuf::from(source), to))
        })
        .collect()
}

pub fn cp(args: &[String]) -> Outcome {
    let parsed = options(args, "rRapf")?;
    let recursive = ['r', 'R', 'a'].iter().any(|letter| parsed.has(*letter));
    for (from, to) in targets(&parsed.operands)? {
        copy(&from, &to, recursive).about(&from.display().to_string())?;
    }
    Ok(0)
}

fn copy(from: &Path, to: &Path, recursive: bool) -> io::Result<()> {
    let meta = if recursive { from.symlink_metadata()? } else { from.metadata()? };
    if meta.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if !meta.is_dir() {
        if to.metadata().is_ok_and(|other| (other.dev(), other.ino()) == (meta.dev(), meta.ino())) {
            return Err(io::Error::other("source and target are the same file"));
        }
        // Pipes and devices are read, not copied by the file system.
        if !meta.is_file() {
            return io::copy(&mut File::open(from)?, &mut File::create(to)?).map(drop);
        }
        return fs::copy(from, to).map(drop);
    }
    if !recursive {
        return Err(io::Error::other("is a directory"));
    }
    if to.starts_with(from) {
        return Err(io::Error::other("cannot copy a directory into itself"));
    }
    if !to.is_dir() {
        fs::create_dir(to)?;
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()), true)?;
    }
    fs::set_permissions(to, meta.permissions())
}

pub fn mv(args: &[String]) -> Outcome {
    for (from, to) in targets(&options(args, "f")?.operands)? {
        let moved = match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy(&from, &to, true)
                .and_then(|()| if from.is_dir() { fs::remove_dir_all(&from) } else { fs::remove_file(&from) }),
            other => other,
        };
        moved.about(&from.display().to_string())?;
    }
    Ok(0)
}

pub fn ln(args: &[String]) -> Outcome {
    let mut parsed = options(args, "sfn")?;
    if parsed.operands.len() == 1 {
        parsed.operands.push(".".to_string());
    }
    let forced = parsed.has('f');
    for (from, to) in targets(&parsed.operands)? {
        if forced && to.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
            fs::remove_file(&to).about(&to.display().to_string())?;
        }
        let linked = if parsed.has('s') { symlink(&from, &to) } else { fs::hard_link(&from, &to) };
        linked.about(&to.display().to_string())?;
    }
    Ok(0)
}

pub fn readlink(args: &[String]) -> Outcome {
    let parsed = options(args, "fn")?;
    let mut out = io::stdout();
    each("readlink", &parsed.operands, |name| {
        let path = if parsed.has('f') { fs::canonicalize(name) } else { fs::read_link(name) }.about(name)?;
        let end = if parsed.has('n') { "" } else { "\n" };
        Ok(write!(out, "{}{end}", path.display())?)
    })
}
