//! What a configuration file may hold: each field's type. A reader that asks by path finds nothing where a list was
//! written as a map, and a rule that is not found is a rule that does not hold; so a file is held against its shape first.
//! Decided against typed structs: the readers name places in errors, which a decoder does not.

use value::Value;

/// The type of a place. `null` is none of any.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Text,
    Bool,
    List(&'static Shape),
    Struct(&'static [(&'static str, Shape)]),
}

/// A list of texts.
pub const TEXTS: Shape = Shape::List(&Shape::Text);

/// The first field that has the wrong type or, where it is `strict`, that nobody knows, as a decoder's sentence.
pub fn check(file: &Value, shape: Shape, strict: bool) -> Result<(), String> {
    walk(file, shape, strict, "")
}

fn walk(of: &Value, shape: Shape, strict: bool, at: &str) -> Result<(), String> {
    let wanted = match (of, shape) {
        (Value::Null, _) | (Value::String(_), Shape::Text) | (Value::Bool(_), Shape::Bool) => return Ok(()),
        (Value::Array(items), Shape::List(item)) => {
            return items.iter().enumerate().try_for_each(|(i, v)| walk(v, *item, strict, &format!("{at}[{i}]")));
        }
        (Value::Object(members), Shape::Struct(fields)) => {
            return members.iter().try_for_each(|(key, v)| {
                let at = if at.is_empty() { key.to_string() } else { format!("{at}.{key}") };
                match fields.iter().find(|(name, _)| *name == key) {
                    Some((_, shape)) => walk(v, *shape, strict, &at),
                    None if strict => Err(format!("strict decoding error: unknown field \"{at}\"")),
                    None => Ok(()),
                }
            });
        }
        (_, Shape::Text) => "string",
        (_, Shape::Bool) => "boolean",
        (_, Shape::List(_)) => "array",
        (_, Shape::Struct(_)) => "object",
    };
    let at = if at.is_empty() { "the file" } else { at };
    Err(format!("strict decoding error: cannot unmarshal {} into field \"{at}\" of type {wanted}", of.type_name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn types_are_told_apart() {
        const RULE: Shape = Shape::Struct(&[("name", Shape::Text), ("on", Shape::Bool), ("of", TEXTS)]);
        const FILE: Shape = Shape::Struct(&[("rules", Shape::List(&RULE))]);
        let wrong = |got: &str, at: &str, of: &str| {
            format!("strict decoding error: cannot unmarshal {got} into field \"{at}\" of type {of}")
        };
        for (file, want) in [
            (value!({"rules": [{"name": "a", "on": true, "of": ["x"]}, null, {"name": null}]}), String::new()),
            (value!({"rules": null}), String::new()),
            (value!([]), wrong("array", "the file", "object")),
            (value!({"rules": {"name": "a"}}), wrong("object", "rules", "array")),
            (value!({"rules": ["a"]}), wrong("string", "rules[0]", "object")),
            (value!({"rules": [{}, {"name": 1}]}), wrong("integer", "rules[1].name", "string")),
            (value!({"rules": [{"on": "false"}]}), wrong("string", "rules[0].on", "boolean")),
            (value!({"rules": [{"of": "x"}]}), wrong("string", "rules[0].of", "array")),
            (value!({"rules": [{"of": [true]}]}), wrong("boolean", "rules[0].of[0]", "string")),
        ] {
            assert_eq!(check(&file, FILE, true).err().unwrap_or_default(), want);
            assert_eq!(check(&file, FILE, false).err().unwrap_or_default(), want);
        }
        let stray = value!({"rules": [{"nam": "a"}]});
        assert_eq!(check(&stray, FILE, true).unwrap_err(), "strict decoding error: unknown field \"rules[0].nam\"");
        assert_eq!(check(&stray, FILE, false), Ok(()));
    }
}
