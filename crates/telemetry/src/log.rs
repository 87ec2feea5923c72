//! Log lines, on standard error or in a file.

use std::{ffi::OsStr, fs::File, io::IsTerminal, path::Path, sync::Mutex};
use tracing_subscriber::{EnvFilter, fmt, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

/// The environment variable that filters.
pub const VARIABLE: &str = "FERRY_LOG";

/// Starts logging on standard error at `default` (`warn`, `info,kubelet=debug` …) where the environment does not say
/// otherwise. A second call, or one in a test that has its own subscriber, changes nothing.
pub fn init(default: &str) {
    let no_color = std::env::var_os("NO_COLOR");
    start(default, std::io::stderr, colours(std::io::stderr().is_terminal(), no_color.as_deref()));
}

/// The same, appended to a file: for commands that own the terminal.
pub fn to_file(path: &Path, default: &str) -> Result<(), String> {
    let file = File::options().create(true).append(true).open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    start(default, Mutex::new(file), false);
    Ok(())
}

/// Who reads a file or a pipe sees escapes as rubbish; who says so (no-color.org) wants none anywhere.
fn colours(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

fn start<W: for<'a> MakeWriter<'a> + Send + Sync + 'static>(default: &str, writer: W, colours: bool) {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let lines = fmt::layer().with_writer(writer).with_ansi(colours).with_target(true).compact();
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals() {
        for (terminal, no_color, want) in
            [(true, None, true), (true, Some(""), true), (true, Some("1"), false), (false, None, false)]
        {
            assert_eq!(colours(terminal, no_color.map(OsStr::new)), want, "{terminal} {no_color:?}");
        }
    }
}
