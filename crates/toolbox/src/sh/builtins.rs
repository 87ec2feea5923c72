//! Commands that change the shell itself, and a few that are cheaper without a process.

use super::jobs;
use super::parse::is_name;
use super::run::{Flow, Run, Shell, Variable};
use crate::text;
use std::io::Read;
use std::path::{Component, PathBuf};
use std::sync::atomic::Ordering;

const NAMES: [&str; 34] = [
    ":", ".", "[", "break", "cd", "command", "continue", "echo", "eval", "exec", "exit", "export", "false", "getopts",
    "hash", "jobs", "kill", "local", "printf", "pwd", "read", "readonly", "return", "set", "shift", "source", "test",
    "trap", "true", "type", "umask", "unset", "wait", "times",
];

/// Names that exist in the table only so that scripts can probe them.
const ABSENT: [&str; 3] = ["getopts", "times", "umask"];

pub fn is_builtin(name: &str) -> bool {
    NAMES.contains(&name) && !ABSENT.contains(&name)
}

pub fn run(shell: &mut Shell, argv: &[String]) -> Run {
    let args = &argv[1..];
    let first = args.first().map(String::as_str);
    match argv[0].as_str() {
        ":" | "true" | "hash" | "jobs" => Ok(0),
        "false" => Ok(1),
        "echo" => shell.print(&text::echo(args)),
        "printf" => match text::printf(args) {
            Ok(bytes) => shell.print(&bytes),
            Err(message) => Ok(shell.complain(&format!("printf: {message}"))),
        },
        "test" => test(shell, args),
        "[" => match args.split_last() {
            Some((last, args)) if last == "]" => test(shell, args),
            _ => {
                shell.complain("[: missing ]");
                Ok(2)
            }
        },
        "pwd" => shell.print(format!("{}\n", shell.cwd.display()).as_bytes()),
        "cd" => cd(shell, first),
        "exit" => Err(Flow::Exit(number(shell, first)? & 0xff)),
        "return" => Err(Flow::Return(number(shell, first)? & 0xff)),
        "break" => Err(Flow::Break(number(shell, first.or(Some("1")))?.max(1) as u32)),
        "continue" => Err(Flow::Continue(number(shell, first.or(Some("1")))?.max(1) as u32)),
        "eval" => shell.eval(&args.join(" ")),
        "." | "source" => source(shell, first),
        "export" | "readonly" => export(shell, args),
        "local" => local(shell, args),
        "unset" => {
            for name in args.iter().filter(|name| *name != "-v") {
                if first == Some("-f") {
                    shell.functions.remove(name);
                } else {
                    shell.variables.remove(name);
                }
            }
            Ok(0)
        }
        "shift" => {
            let n = number(shell, first.or(Some("1")))?.max(0) as usize;
            if n > shell.args.len() {
                return Ok(shell.complain("shift: can't shift that many"));
            }
            shell.args.drain(..n);
            Ok(0)
        }
        "set" => set(shell, args),
        "read" => read(shell, args),
        "trap" => trap(shell, args),
        "wait" => wait(shell, args),
        "kill" => kill(shell, args),
        "command" | "type" => command(shell, argv),
        other => Ok(shell.complain(&format!("{other}: not found"))),
    }
}

fn number(shell: &Shell, text: Option<&str>) -> Run {
    match text {
        None => Ok(shell.status),
        Some(text) => text.parse().map_err(|_| shell.fatal(&format!("illegal number: {text}"))),
    }
}

fn test(shell: &mut Shell, args: &[String]) -> Run {
    match text::test(args, &shell.cwd, &|fd| shell.fds.get(&fd).is_some_and(rustix::termios::isatty)) {
        Ok(true) => Ok(0),
        Ok(false) => Ok(1),
        Err(message) => {
            shell.complain(&format!("test: {message}"));
            Ok(2)
        }
    }
}

fn cd(shell: &mut Shell, target: Option<&str>) -> Run {
    let home = shell.value("HOME").unwrap_or_else(|| "/".to_string());
    let back = target == Some("-");
    let target = match target {
        Some("-") => shell.value("OLDPWD").unwrap_or(home),
        Some(target) => target.to_string(),
        None => home,
    };
    // Logical: `..` undoes the last name, as `cd -L` does.
    let mut path = PathBuf::new();
    for component in shell.cwd.join(&target).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    match std::fs::read_dir(&path) {
        Err(error) => Ok(shell.complain(&format!("cd: can't cd to {target}: {}", super::run::reason(&error)))),
        Ok(_) => {
            let old = std::mem::replace(&mut shell.cwd, path);
            shell.assign("OLDPWD", &old.display().to_string())?;
            if back { shell.print(format!("{}\n", shell.cwd.display()).as_bytes()) } else { Ok(0) }
        }
    }
}

fn source(shell: &mut Shell, path: Option<&str>) -> Run {
    let Some(path) = path else { return Ok(shell.complain(".: file name required")) };
    match std::fs::read_to_string(shell.cwd.join(path)) {
        Ok(text) => match shell.eval(&text) {
            Err(Flow::Return(status)) => Ok(status),
            other => other,
        },
        Err(error) => Err(shell.fatal(&format!("{path}: {}", super::run::reason(&error)))),
    }
}

fn export(shell: &mut Shell, args: &[String]) -> Run {
    if args.iter().all(|arg| arg == "-p") {
        let mut lines: Vec<_> = shell
            .variables
            .iter()
            .filter(|(_, variable)| variable.exported)
            .map(|(name, variable)| format!("export {name}='{}'\n", variable.value.replace('\'', "'\\''")))
            .collect();
        lines.sort();
        return shell.print(lines.concat().as_bytes());
    }
    for arg in args {
        let (name, value) = arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
        if !is_name(name) {
            return Ok(shell.complain(&format!("export: {name}: bad variable name")));
        }
        let variable = shell.variables.entry(name.to_string()).or_default();
        variable.exported = true;
        if let Some(value) = value {
            variable.value = value.to_string();
        }
    }
    Ok(0)
}

fn local(shell: &mut Shell, args: &[String]) -> Run {
    for arg in args {
        let (name, value) = arg.split_once('=').unwrap_or((arg, ""));
        let hidden = shell.variables.get(name).cloned();
        match shell.locals.last_mut() {
            Some(frame) => frame.push((name.to_string(), hidden)),
            None => return Ok(shell.complain("local: not in a function")),
        }
        shell.variables.insert(name.to_string(), Variable { value: value.to_string(), exported: false });
    }
    Ok(0)
}

fn set(shell: &mut Shell, args: &[String]) -> Run {
    if args.is_empty() {
        let mut lines: Vec<_> =
            shell.variables.iter().map(|(name, variable)| format!("{name}='{}'\n", variable.value)).collect();
        lines.sort();
        return shell.print(lines.concat().as_bytes());
    }
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let (on, flags) = match (arg.strip_prefix('-'), arg.strip_prefix('+')) {
            (Some("-"), _) => {
                shell.args = rest.cloned().collect();
                return Ok(0);
            }
            (Some(flags), _) => (true, flags),
            (_, Some(flags)) => (false, flags),
            _ => {
                shell.args = std::iter::once(arg).chain(rest).cloned().collect();
                return Ok(0);
            }
        };
        for flag in flags.chars() {
            let option = if flag == 'o' { rest.next().map(String::as_str) } else { None };
            match (flag, option) {
                ('e', _) | ('o', Some("errexit")) => shell.options.errexit = on,
                ('u', _) | ('o', Some("nounset")) => shell.options.nounset = on,
                ('x', _) | ('o', Some("xtrace")) => shell.options.xtrace = on,
                _ => {
                    let name = option.map_or_else(|| flag.to_string(), str::to_string);
                    return Err(shell.fatal(&format!("set: illegal option {name}")));
                }
            }
        }
    }
    Ok(0)
}

/// One byte at a time: what follows the line belongs to the next reader.
fn read(shell: &mut Shell, args: &[String]) -> Run {
    let raw = args.first().is_some_and(|arg| arg == "-r");
    let names = if raw { &args[1..] } else { args };
    let Some(input) = shell.fds.get(&0).cloned() else { return Ok(1) };
    let mut line = Vec::new();
    let mut byte = [0];
    let mut complete = false;
    while let Ok(1) = (&*input).read(&mut byte) {
        match byte[0] {
            b'\n' => {
                complete = true;
                break;
            }
            b'\\' if !raw => {
                if matches!((&*input).read(&mut byte), Ok(1)) && byte[0] != b'\n' {
                    line.push(byte[0]);
                }
            }
            other => line.push(other),
        }
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    let separators = shell.value("IFS").unwrap_or_else(|| " \t\n".to_string());
    let blank = |c: char| c.is_whitespace() && separators.contains(c);
    let mut rest = line.trim_matches(blank);
    let names: Vec<&str> = if names.is_empty() { vec!["REPLY"] } else { names.iter().map(String::as_str).collect() };
    for (n, name) in names.iter().enumerate() {
        let cut = if n + 1 == names.len() { None } else { rest.find(|c| separators.contains(c)) };
        let (value, after) = match cut {
            Some(at) => (&rest[..at], &rest[at + rest[at..].chars().next().map_or(1, char::len_utf8)..]),
            None => (rest, ""),
        };
        shell.assign(name, value)?;
        rest = after.trim_start_matches(blank);
    }
    Ok(i32::from(!complete))
}

fn trap(shell: &mut Shell, args: &[String]) -> Run {
    let Some((action, names)) = args.split_first() else {
        let lines: Vec<_> = shell
            .traps
            .iter()
            .map(|(number, action)| {
                let name = jobs::SIGNALS.iter().find(|(_, n)| n == number).map_or("EXIT", |(name, _)| name);
                format!("trap -- '{action}' {name}\n")
            })
            .collect();
        return shell.print(lines.concat().as_bytes());
    };
    for name in names {
        let signal = if name == "EXIT" { Some(0) } else { jobs::signal(name) };
        let Some(signal) = signal else { return Ok(shell.complain(&format!("trap: {name}: bad trap"))) };
        if action == "-" {
            // The handler stays, so the default action must be asked for by name.
            shell.traps.remove(&signal);
            if signal != 0 {
                shell.traps.insert(signal, format!("exit {}", 128 + signal));
            }
            continue;
        }
        if signal != 0 && !shell.subshell {
            let added = shell.watch.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).add(signal, &shell.events);
            if let Err(message) = added {
                return Ok(shell.complain(&format!("trap: {name}: {message}")));
            }
        }
        shell.traps.insert(signal, action.clone());
    }
    Ok(0)
}

fn job_of(shell: &Shell, name: &str) -> Option<u32> {
    match name.strip_prefix('%') {
        Some(id) => id.parse().ok(),
        None => {
            let pid: u32 = name.parse().ok()?;
            shell.jobs.iter().find(|(_, job)| job.pid == Some(pid)).map(|(id, _)| *id)
        }
    }
}

fn wait(shell: &mut Shell, args: &[String]) -> Run {
    if args.is_empty() {
        return shell.wait(None);
    }
    let mut status = 0;
    for name in args {
        status = match job_of(shell, name) {
            Some(job) => shell.wait(Some(job))?,
            None => 127,
        };
    }
    Ok(status)
}

fn kill(shell: &mut Shell, args: &[String]) -> Run {
    // A job that is a part of this process has no process to signal: it is told to stop, and its program is signalled.
    let mut rest = Vec::new();
    let mut signal = 15;
    for arg in args {
        let job = job_of(shell, arg).and_then(|id| shell.jobs.get(&id)).filter(|job| job.pid.is_none());
        match (job, arg.strip_prefix('-').and_then(jobs::signal)) {
            (Some(job), _) => {
                job.stop.flag.store(signal != 0, Ordering::Relaxed);
                match job.stop.child.load(Ordering::Relaxed) {
                    0 => {}
                    pid => drop(crate::system::send(&pid.to_string(), signal)),
                }
            }
            (None, Some(number)) => {
                signal = number;
                rest.push(arg.clone());
            }
            _ => rest.push(arg.clone()),
        }
    }
    if rest.iter().all(|arg| arg.starts_with('-')) && !rest.iter().any(|arg| arg == "-l") && rest.len() < args.len() {
        return Ok(0);
    }
    match crate::system::kill(&rest) {
        Ok(text) => shell.print(text.as_bytes()),
        Err(message) => Ok(shell.complain(&format!("kill: {message}"))),
    }
}

/// `command -v name`, `type name`, `command name …`.
fn command(shell: &mut Shell, argv: &[String]) -> Run {
    let verbose = argv[0] == "type";
    let query = verbose || argv.get(1).is_some_and(|arg| arg == "-v");
    if !query {
        return match argv.get(1) {
            None => Ok(0),
            Some(name) if is_builtin(name) => run(shell, &argv[1..]),
            Some(_) => shell.eval(&argv[1..].iter().map(|arg| quote(arg)).collect::<Vec<_>>().join(" ")),
        };
    }
    let mut status = 0;
    for name in &argv[if verbose { 1 } else { 2 }..] {
        let what = if is_builtin(name) || shell.functions.contains_key(name) {
            Some(name.clone())
        } else {
            shell.resolve(name).filter(|path| path.exists()).map(|path| path.display().to_string())
        };
        match what {
            Some(what) if verbose => shell.print(format!("{name} is {what}\n").as_bytes())?,
            Some(what) => shell.print(format!("{what}\n").as_bytes())?,
            None => {
                if verbose {
                    shell.complain(&format!("{name}: not found"));
                }
                status = 127;
                continue;
            }
        };
    }
    Ok(status)
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
