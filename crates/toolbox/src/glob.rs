//! Shell patterns: `*`, `?`, `[…]`, over characters that know whether they were quoted.

use std::path::Path;

/// One character of an expanded word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ch {
    pub c: char,
    /// Quoted characters stand for themselves.
    pub quoted: bool,
}

/// Characters that all were outside quotes.
pub fn plain(text: &str) -> Vec<Ch> {
    text.chars().map(|c| Ch { c, quoted: false }).collect()
}

/// The text of characters.
pub fn text(chars: &[Ch]) -> String {
    chars.iter().map(|ch| ch.c).collect()
}

/// Whether the whole of `text` matches.
pub fn matches(pattern: &[Ch], text: &[char]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
    match (first.c, first.quoted) {
        ('*', false) => (0..=text.len()).any(|n| matches(rest, &text[n..])),
        ('?', false) => !text.is_empty() && matches(rest, &text[1..]),
        ('[', false) => match (class(rest), text.split_first()) {
            (Some((accepts, rest)), Some((c, tail))) => accepts(*c) && matches(rest, tail),
            (Some(_), None) => false,
            // An unclosed bracket is a bracket.
            (None, _) => text.first() == Some(&'[') && matches(rest, &text[1..]),
        },
        (c, _) => text.first() == Some(&c) && matches(rest, &text[1..]),
    }
}

/// Paths that match, sorted; empty if none does or if nothing in the pattern is special.
pub fn paths(pattern: &[Ch], cwd: &Path) -> Vec<String> {
    if !pattern.iter().any(|ch| !ch.quoted && matches!(ch.c, '*' | '?' | '[')) {
        return Vec::new();
    }
    let absolute = pattern.first().is_some_and(|ch| ch.c == '/');
    let mut found = vec![if absolute { "/".to_string() } else { String::new() }];
    for part in pattern.split(|ch| ch.c == '/').filter(|part| !part.is_empty()) {
        let special = part.iter().any(|ch| !ch.quoted && matches!(ch.c, '*' | '?' | '['));
        let mut next = Vec::new();
        for base in found {
            let join = |name: &str| match base.as_str() {
                "" => name.to_string(),
                base if base.ends_with('/') => format!("{base}{name}"),
                base => format!("{base}/{name}"),
            };
            if !special {
                let path = join(&text(part));
                if cwd.join(&path).symlink_metadata().is_ok() {
                    next.push(path);
                }
                continue;
            }
            let Ok(entries) = std::fs::read_dir(cwd.join(if base.is_empty() { "." } else { &base })) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let hidden = name.starts_with('.') && part.first().is_none_or(|ch| ch.c != '.');
                if !hidden && matches(part, &name.chars().collect::<Vec<_>>()) {
                    next.push(join(&name));
                }
            }
        }
        found = next;
    }
    found.sort();
    found
}

/// A bracket expression after its `[`: what it accepts, and the pattern behind it.
fn class(pattern: &[Ch]) -> Option<(impl Fn(char) -> bool + '_, &[Ch])> {
    let negated = pattern.first().is_some_and(|ch| matches!(ch.c, '!' | '^') && !ch.quoted);
    let start = usize::from(negated);
    // A bracket right at the start is an ordinary member.
    let end = (start + 1..pattern.len()).find(|n| pattern[*n].c == ']' && !pattern[*n].quoted)?;
    let members = &pattern[start..end];
    let accepts = move |c: char| {
        let mut n = 0;
        let mut found = false;
        while n < members.len() {
            if n + 2 < members.len() && members[n + 1].c == '-' {
                found |= (members[n].c..=members[n + 2].c).contains(&c);
                n += 3;
            } else {
                found |= members[n].c == c;
                n += 1;
            }
        }
        found != negated
    };
    Some((accepts, &pattern[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            ("*", vec!["", "a", "ab"], vec![]),
            ("a*c", vec!["ac", "abbc"], vec!["ab", "bac"]),
            ("?", vec!["x"], vec!["", "xy"]),
            ("[a-c]x", vec!["ax", "cx"], vec!["dx", "x"]),
            ("[!a]", vec!["b"], vec!["a", ""]),
            ("[]]", vec!["]"], vec!["["]),
            ("[", vec!["["], vec!["a"]),
            ("a.b", vec!["a.b"], vec!["axb"]),
        ] {
            let check = |text: &&str| matches(&plain(pattern), &text.chars().collect::<Vec<_>>());
            assert!(yes.iter().all(check) && !no.iter().any(check), "{pattern}");
        }
        let quoted = [Ch { c: '*', quoted: true }];
        assert!(matches(&quoted, &['*']) && !matches(&quoted, &['a']));
    }
}
