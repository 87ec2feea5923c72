//! Integer arithmetic for `$((…))`: a precedence climber over text in which parameters are already expanded.

/// The value of `text`; `variable` gives the value of a bare name (unset is 0).
pub fn evaluate(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<i64, String> {
    let mut parser = Arithmetic { text: text.as_bytes(), at: 0, variable, depth: 0 };
    let value = parser.expression(0)?;
    parser.blanks();
    if parser.at < parser.text.len() {
        return Err(format!("arithmetic syntax error in \"{text}\""));
    }
    Ok(value)
}

struct Arithmetic<'a> {
    text: &'a [u8],
    at: usize,
    variable: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
}

/// Longest first, with their binding strength.
const OPERATORS: [(&str, u8); 18] = [
    ("||", 1),
    ("&&", 2),
    ("==", 6),
    ("!=", 6),
    ("<=", 7),
    (">=", 7),
    ("<<", 8),
    (">>", 8),
    ("|", 3),
    ("^", 4),
    ("&", 5),
    ("<", 7),
    (">", 7),
    ("+", 9),
    ("-", 9),
    ("*", 10),
    ("/", 10),
    ("%", 10),
];

impl Arithmetic<'_> {
    fn blanks(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn expression(&mut self, least: u8) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > 100 {
            return Err("arithmetic nested too deep".into());
        }
        let mut left = self.operand()?;
        loop {
            self.blanks();
            let rest = &self.text[self.at..];
            let found = OPERATORS.iter().find(|(operator, _)| rest.starts_with(operator.as_bytes()));
            let Some((operator, strength)) = found.filter(|(_, strength)| *strength > least) else { break };
            self.at += operator.len();
            let right = self.expression(*strength)?;
            left = apply(operator, left, right)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Result<i64, String> {
        self.blanks();
        let rest = &self.text[self.at..];
        match rest.first() {
            Some(b'(') => {
                self.at += 1;
                let value = self.expression(0)?;
                self.blanks();
                if self.text.get(self.at) != Some(&b')') {
                    return Err("arithmetic: missing )".into());
                }
                self.at += 1;
                Ok(value)
            }
            Some(sign @ (b'-' | b'+' | b'!' | b'~')) => {
                self.at += 1;
                let value = self.expression(10)?;
                Ok(match sign {
                    b'-' => value.wrapping_neg(),
                    b'!' => i64::from(value == 0),
                    b'~' => !value,
                    _ => value,
                })
            }
            Some(c) if c.is_ascii_alphanumeric() || *c == b'_' => {
                let end = rest.iter().position(|c| !c.is_ascii_alphanumeric() && *c != b'_').unwrap_or(rest.len());
                let token = String::from_utf8_lossy(&rest[..end]).into_owned();
                self.at += end;
                let value = if c.is_ascii_digit() { token } else { (self.variable)(&token).unwrap_or_default() };
                number(value.trim()).ok_or_else(|| format!("arithmetic: bad number \"{value}\""))
            }
            _ => Err("arithmetic: operand expected".into()),
        }
    }
}

fn number(text: &str) -> Option<i64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        Some(octal) => i64::from_str_radix(octal, 8).ok(),
        None if text.is_empty() => Some(0),
        None => text.parse().ok(),
    }
}

fn apply(operator: &str, left: i64, right: i64) -> Result<i64, String> {
    let zero = || "arithmetic: division by zero".to_string();
    Ok(match operator {
        "||" => i64::from(left != 0 || right != 0),
        "&&" => i64::from(left != 0 && right != 0),
        "==" => i64::from(left == right),
        "!=" => i64::from(left != right),
        "<=" => i64::from(left <= right),
        ">=" => i64::from(left >= right),
        "<" => i64::from(left < right),
        ">" => i64::from(left > right),
        "<<" => left.wrapping_shl(right as u32),
        ">>" => left.wrapping_shr(right as u32),
        "|" => left | right,
        "^" => left ^ right,
        "&" => left & right,
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "*" => left.wrapping_mul(right),
        "/" => left.checked_div(right).ok_or_else(zero)?,
        _ => left.checked_rem(right).ok_or_else(zero)?,
    })
}
