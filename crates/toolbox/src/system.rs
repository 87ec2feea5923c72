//! Programs about the system and its processes: id, hostname, uname, env, date, ps, kill, sleep, pwd, tty.

use crate::common::{Failure, Outcome, options, stdout};
use crate::sh::{jobs, run::reason};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, getegid, geteuid};
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

pub fn sleep(args: &[String]) -> Outcome {
    let mut total = Duration::ZERO;
    for arg in args {
        let invalid = || Failure::Message(format!("invalid number '{arg}'"));
        if matches!(arg.as_str(), "infinity" | "inf") {
            total = Duration::from_secs(u64::from(u32::MAX));
            continue;
        }
        let (number, unit) = match arg.find(|c: char| c.is_ascii_alphabetic()) {
            Some(at) => arg.split_at(at),
            None => (arg.as_str(), "s"),
        };
        let scale = match unit {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(invalid()),
        };
        let seconds: f64 = number.parse().map_err(|_| invalid())?;
        total += Duration::try_from_secs_f64(seconds * scale).map_err(|_| invalid())?;
    }
    if args.is_empty() {
        return Err("missing operand".into());
    }
    jobs::die_on_termination();
    std::thread::sleep(total);
    Ok(0)
}

pub fn pwd(_: &[String]) -> Outcome {
    writeln!(std::io::stdout(), "{}", std::env::current_dir()?.display())?;
    Ok(0)
}

pub fn hostname(_: &[String]) -> Outcome {
    writeln!(std::io::stdout(), "{}", rustix::system::uname().nodename().to_string_lossy())?;
    Ok(0)
}

pub fn uname(args: &[String]) -> Outcome {
    let parsed = options(args, "asnrvm")?;
    let uname = rustix::system::uname();
    let fields = [
        ('s', uname.sysname()),
        ('n', uname.nodename()),
        ('r', uname.release()),
        ('v', uname.version()),
        ('m', uname.machine()),
    ];
    let wanted = |letter| parsed.has('a') || parsed.has(letter) || (parsed.options.is_empty() && letter == 's');
    let line: Vec<_> =
        fields.iter().filter(|(letter, _)| wanted(*letter)).map(|(_, value)| value.to_string_lossy()).collect();
    writeln!(std::io::stdout(), "{}", line.join(" "))?;
    Ok(0)
}

pub fn tty(_: &[String]) -> Outcome {
    match fs::read_link("/proc/self/fd/0") {
        Ok(path) if rustix::termios::isatty(std::io::stdin()) => {
            writeln!(std::io::stdout(), "{}", path.display())?;
            Ok(0)
        }
        _ => {
            writeln!(std::io::stdout(), "not a tty")?;
            Ok(1)
        }
    }
}

/// `env [-i] [-u name] [name=value…] [command args…]`
pub fn env(args: &[String]) -> Outcome {
    let parsed = options(args, "iu:")?;
    let mut variables: Vec<(String, String)> = if parsed.has('i') {
        Vec::new()
    } else {
        std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect()
    };
    variables.retain(|(name, _)| !parsed.options.contains(&('u', name.clone())));
    let mut rest = parsed.operands.as_slice();
    while let Some((name, value)) = rest.first().and_then(|word| word.split_once('=')) {
        variables.retain(|(known, _)| known != name);
        variables.push((name.to_string(), value.to_string()));
        rest = &rest[1..];
    }
    let Some((program, args)) = rest.split_first() else {
        let mut out = stdout();
        variables.iter().try_for_each(|(name, value)| writeln!(out, "{name}={value}"))?;
        out.flush()?;
        return Ok(0);
    };
    let error = Command::new(program).args(args).env_clear().envs(variables).exec();
    eprintln!("env: {program}: {}", reason(&error));
    Ok(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}

/// `date [-u] [+format]`; containers know no time zone but UTC.
pub fn date(args: &[String]) -> Outcome {
    let parsed = options(args, "uIR")?;
    let format = match parsed.operands.first().map(|operand| operand.strip_prefix('+')) {
        Some(Some(format)) => format,
        Some(None) => return Err("setting the time is not supported".into()),
        None if parsed.has('I') => "%Y-%m-%d",
        None => "%a %b %e %H:%M:%S UTC %Y",
    };
    let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let text = jiff::fmt::strtime::format(format, &now).map_err(|error| error.to_string())?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(0)
}

/// A line of `/etc/passwd` or `/etc/group` whose third field is `id`.
fn name_of(file: &str, id: u32) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let id = id.to_string();
    text.lines()
        .find(|line| line.split(':').nth(2) == Some(&id))
        .and_then(|line| line.split(':').next())
        .map(String::from)
}

pub fn user_name(uid: u32) -> String {
    name_of("/etc/passwd", uid).unwrap_or_else(|| uid.to_string())
}

pub fn group_name(gid: u32) -> String {
    name_of("/etc/group", gid).unwrap_or_else(|| gid.to_string())
}

pub fn whoami(_: &[String]) -> Outcome {
    let uid = geteuid().as_raw();
    let name = name_of("/etc/passwd", uid).ok_or_else(|| format!("unknown uid {uid}"))?;
    writeln!(std::io::stdout(), "{name}")?;
    Ok(0)
}

/// `id [-u|-g|-G] [-n]`
pub fn id(args: &[String]) -> Outcome {
    let parsed = options(args, "ugGn")?;
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let mut groups = vec![gid];
    let more = rustix::process::getgroups().map_err(std::io::Error::from)?;
    groups.extend(more.into_iter().map(|group| group.as_raw()).filter(|group| *group != gid));
    let user = |id: u32| if parsed.has('n') { user_name(id) } else { id.to_string() };
    let group = |id: u32| if parsed.has('n') { group_name(id) } else { id.to_string() };
    let named = |id: u32, file: &str| match name_of(file, id) {
        Some(name) => format!("{id}({name})"),
        None => id.to_string(),
    };
    let line = if parsed.has('u') {
        user(uid)
    } else if parsed.has('g') {
        group(gid)
    } else if parsed.has('G') {
        groups.iter().map(|id| group(*id)).collect::<Vec<_>>().join(" ")
    } else {
        let list: Vec<_> = groups.iter().map(|id| named(*id, "/etc/group")).collect();
        format!("uid={} gid={} groups={}", named(uid, "/etc/passwd"), named(gid, "/etc/group"), list.join(","))
    };
    writeln!(std::io::stdout(), "{line}")?;
    Ok(0)
}

/// `ps`: every process of this pid namespace, whatever options are given.
pub fn ps(_: &[String]) -> Outcome {
    let mut processes: Vec<u32> =
        fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    processes.sort_unstable();
    let mut out = stdout();
    writeln!(out, "{:>7} {:<8} {:>7} S COMMAND", "PID", "USER", "PPID")?;
    for pid in processes {
        // A process may end while we look.
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.split_whitespace().next()).unwrap_or("?").to_string()
        };
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut command = String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ");
        if command.is_empty() {
            command = format!("[{}]", field("Name"));
        }
        let user = field("Uid").parse().map_or_else(|_| "?".to_string(), user_name);
        writeln!(out, "{pid:>7} {user:<8} {:>7} {} {command}", field("PPid"), field("State"))?;
    }
    out.flush()?;
    Ok(0)
}

pub fn kill_main(args: &[String]) -> Outcome {
    write!(std::io::stdout(), "{}", kill(args)?)?;
    Ok(0)
}

/// `kill [-signal | -s signal] pid…` or `kill -l`; returns what to print.
pub fn kill(args: &[String]) -> Result<String, String> {
    let mut signal = 15;
    let mut rest = args;
    match args.first().map(String::as_str) {
        Some("-l") => return Ok(jobs::SIGNALS.iter().map(|(name, number)| format!("{number} {name}\n")).collect()),
        Some("-s") => {
            let name = args.get(1).ok_or("-s needs a signal")?;
            signal = jobs::signal(name).ok_or_else(|| format!("{name}: unknown signal"))?;
            rest = &args[2..];
        }
        Some("--") => rest = &args[1..],
        Some(flag) if flag.starts_with('-') => {
            signal = jobs::signal(&flag[1..]).ok_or_else(|| format!("{flag}: unknown signal"))?;
            rest = &args[1..];
        }
        _ => {}
    }
    if rest.is_empty() {
        return Err("usage: kill [-signal] pid…".into());
    }
    rest.iter().try_for_each(|target| send(target, signal))?;
    Ok(String::new())
}

/// Sends a signal to a process, or to a group if the number is negative. Signal 0 only asks.
pub fn send(target: &str, signal: i32) -> Result<(), String> {
    let invalid = || format!("{target}: invalid process id");
    let number: i32 = target.parse().map_err(|_| invalid())?;
    let pid = Pid::from_raw(number.abs()).ok_or_else(invalid)?;
    let result = match (Signal::from_named_raw(signal), number < 0) {
        (None, true) => rustix::process::test_kill_process_group(pid),
        (None, false) => rustix::process::test_kill_process(pid),
        (Some(signal), true) => rustix::process::kill_process_group(pid, signal),
        (Some(signal), false) => rustix::process::kill_process(pid, signal),
    };
    result.map_err(|error| format!("({target}): {}", reason(&error.into())))
}
