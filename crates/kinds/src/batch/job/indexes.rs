//! A set of indexes as text: `1,3-5,7`, in order. Messages are upstream's.

/// Counts the indexes, all of them below `completions`.
pub fn count(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut total, mut last) = (0, None);
    for part in text.split(',') {
        let (from, to) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= from) {
            return Err(format!("non-increasing order, previous: {last}, current: {from}"));
        }
        total += to - from + 1;
        last = Some(to);
    }
    Ok(total)
}

/// The first index that is in both; what is no interval is skipped.
pub fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let all = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (completed, failed) = (all(completed), all(failed));
    let (mut c, mut f) = (completed.iter().peekable(), failed.iter().peekable());
    while let (Some((c_from, c_to)), Some((f_from, f_to))) = (c.peek(), f.peek()) {
        if c_from <= f_to && f_from <= c_to {
            return Some(*c_from.max(f_from));
        }
        if c_from <= f_from {
            c.next()
        } else {
            f.next()
        };
    }
    None
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let quote = base::status::quote;
    let index = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {}", quote(text))),
        Ok(n) if n >= completions => Err(format!("too large index: {}", quote(text))),
        Ok(n) => Ok(n),
    };
    match text.split('-').collect::<Vec<_>>().as_slice() {
        [one] => index(one).map(|n| (n, n)),
        [from, to] => match (index(from)?, index(to)?) {
            (from, to) if from >= to => Err(format!("non-increasing order, previous: {from}, current: {to}")),
            interval => Ok(interval),
        },
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            quote(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_indexes() {
        for (text, want) in [
            ("", Ok(0)),
            ("1,3-5,7", Ok(5)),
            ("3,1", Err("non-increasing order, previous: 3, current: 1")),
            ("5-3", Err("non-increasing order, previous: 5, current: 3")),
            ("10", Err("too large index: \"10\"")),
            ("x", Err("cannot convert string to integer for index: \"x\"")),
        ] {
            assert_eq!(count(text, 10), want.map_err(String::from), "{text}");
        }
        assert!(count("1-2-3", 10).is_err_and(|why| why.starts_with("the fragment \"1-2-3\" violates")));
        assert_eq!(overlap("0-2,5", "3-4,6", 10), None);
        assert_eq!(overlap("0-2,5", "3-6", 10), Some(5));
    }
}
