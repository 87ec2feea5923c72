//! Texts: the language's own functions and the strings extension, version 2. Positions count characters.

use super::{Row, arithmetic::LONGEST, int, text};
use crate::val::{EvalError, Fallible, Text, Val};

pub(super) const ROWS: &[Row] = &[
    ("contains", "contains_string", "string.(string) bool", |a| Ok(text(a, 0)?.contains(text(a, 1)?).into())),
    ("endsWith", "ends_with_string", "string.(string) bool", |a| Ok(text(a, 0)?.ends_with(text(a, 1)?).into())),
    ("startsWith", "starts_with_string", "string.(string) bool", |a| Ok(text(a, 0)?.starts_with(text(a, 1)?).into())),
    ("charAt", "string_char_at_int", "string.(int) string", char_at),
    ("indexOf", "string_index_of_string", "string.(string) int", index_of),
    ("indexOf", "string_index_of_string_int", "string.(string,int) int", index_of),
    ("lastIndexOf", "string_last_index_of_string", "string.(string) int", last_index_of),
    ("lastIndexOf", "string_last_index_of_string_int", "string.(string,int) int", last_index_of),
    ("lowerAscii", "string_lower_ascii", "string.() string", |a| Ok(text(a, 0)?.to_ascii_lowercase().into())),
    ("upperAscii", "string_upper_ascii", "string.() string", |a| Ok(text(a, 0)?.to_ascii_uppercase().into())),
    ("replace", "string_replace_string_string", "string.(string,string) string", replace),
    ("replace", "string_replace_string_string_int", "string.(string,string,int) string", replace),
    ("split", "string_split_string", "string.(string) list<string>", split),
    ("split", "string_split_string_int", "string.(string,int) list<string>", split),
    ("substring", "string_substring_int", "string.(int) string", substring),
    ("substring", "string_substring_int_int", "string.(int,int) string", substring),
    ("trim", "string_trim", "string.() string", |a| Ok(text(a, 0)?.trim().into())),
    ("join", "list_join", "list<string>.() string", join),
    ("join", "list_join_string", "list<string>.(string) string", join),
    ("strings.quote", "strings_quote", "(string) string", |a| Ok(quote(text(a, 0)?).into())),
    ("jsonpatch.escapeKey", "string_jsonpatch_escapeKey_string", "(string) string", |a| {
        Ok(text(a, 0)?.replace('~', "~0").replace('/', "~1").into())
    }),
];

fn out_of_range(index: i64) -> EvalError {
    EvalError::new(format!("index out of range: {index}"))
}

/// The byte offset of a character, the end included; an error outside of the text.
fn offset(text: &str, index: i64) -> Fallible<usize> {
    let at = usize::try_from(index).map_err(|_| out_of_range(index))?;
    if text.is_ascii() {
        return if at <= text.len() { Ok(at) } else { Err(out_of_range(index)) };
    }
    let mut ends = text.char_indices().map(|(i, _)| i).chain([text.len()]);
    ends.nth(at).ok_or_else(|| out_of_range(index))
}

fn char_at<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let (text, index) = (text(args, 0)?, int(args, 1)?);
    let rest = &text[offset(text, index)?..];
    Ok(rest.chars().next().map(String::from).unwrap_or_default().into())
}

fn index_of<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let (text, part) = (text(args, 0)?, text(args, 1)?);
    let from = if args.len() > 2 { int(args, 2)? } else { 0 };
    if part.is_empty() {
        return Ok(Val::Int(from));
    }
    if from < 0 {
        return Err(out_of_range(from));
    }
    let Ok(start) = offset(text, from) else { return Ok(Val::Int(-1)) };
    Ok(Val::Int(text[start..].find(part).map_or(-1, |at| characters(&text[..start + at]))))
}

fn last_index_of<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let (text, part) = (text(args, 0)?, text(args, 1)?);
    let length = characters(text);
    let given = if args.len() > 2 { Some(int(args, 2)?) } else { None };
    if part.is_empty() {
        return Ok(Val::Int(given.unwrap_or(length)));
    }
    if let Some(last) = given
        && last < 0
    {
        return Err(out_of_range(last));
    }
    let last = given.unwrap_or(length - 1);
    if last >= length {
        return Ok(Val::Int(-1));
    }
    let end = offset(text, (last + characters(part)).min(length))?;
    Ok(Val::Int(text[..end].rfind(part).map_or(-1, |at| characters(&text[..at]))))
}

fn characters(text: &str) -> i64 {
    crate::val::chars(text) as i64
}

fn replace<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let (text, from, to) = (text(args, 0)?, text(args, 1)?, super::text(args, 2)?);
    let limit = if args.len() > 3 { int(args, 3)? } else { -1 };
    let longest = match from.len() {
        0 => (text.len() + 1).saturating_mul(to.len()).saturating_add(text.len()),
        n => (text.len() / n).saturating_mul(to.len()).saturating_add(text.len()),
    };
    if longest > LONGEST {
        return Err(EvalError::CallCost);
    }
    Ok(match usize::try_from(limit) {
        Ok(limit) => text.replacen(from, to, limit),
        Err(_) => text.replace(from, to),
    }
    .into())
}

fn split<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let (text, separator) = (text(args, 0)?, text(args, 1)?);
    let limit = if args.len() > 2 { int(args, 2)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(Val::list(Vec::new()));
    }
    let mut parts: Vec<Val<'a>> = Vec::new();
    if separator.is_empty() {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if parts.len() + 1 == limit {
                parts.push(rest.into());
                break;
            }
            parts.push(rest[..c.len_utf8()].into());
            rest = &rest[c.len_utf8()..];
        }
    } else {
        for part in text.splitn(limit, separator) {
            parts.push(part.into());
        }
    }
    Ok(Val::list(parts))
}

fn substring<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let (text, start) = (text(args, 0)?, int(args, 1)?);
    if args.len() == 2 {
        return Ok(text[offset(text, start)?..].into());
    }
    let end = int(args, 2)?;
    if start > end {
        return Err(EvalError::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    let (from, to) = (offset(text, start)?, offset(text, end)?);
    Ok(text[from..to].into())
}

fn join<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let Some(Val::List(list)) = args.first() else { return Err(EvalError::no_overload()) };
    let separator = if args.len() > 1 { text(args, 1)? } else { "" };
    let mut out = String::new();
    for (i, item) in list.iter().enumerate() {
        if i > 0 {
            out.push_str(separator);
        }
        match item? {
            Val::String(text) => out.push_str(&text),
            other => return Err(EvalError::new(format!("join: invalid input: {other}"))),
        }
        if out.len() > LONGEST {
            return Err(EvalError::CallCost);
        }
    }
    Ok(Val::String(Text::Shared(out.into())))
}

/// In double quotes, with the escapes that have a letter.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
