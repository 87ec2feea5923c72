//! Admission of connections: exec, attach, port-forward, proxy. What is admitted is the options of the connection, in the
//! kind that the subresource has for them.

use crate::stack::Exchange;
use base::Result;
use resource::Call;
use value::Value;

/// Options that are lists, and those that are true or false; the rest is text.
const LISTS: [&str; 2] = ["command", "ports"];
const FLAGS: [&str; 4] = ["stdin", "stdout", "stderr", "tty"];

/// Asks admission whether the connection may be made.
pub async fn admit(x: &Exchange<'_>, call: &Call) -> Result<()> {
    let options = options(x, call);
    for text in x.server.engine.connect(call, options, x.notes.clone()).await? {
        tracing::debug!(warning = %text, name = %call.name, "admission of a connection");
    }
    Ok(())
}

fn options(x: &Exchange<'_>, call: &Call) -> Value {
    let subresource = call.subresource.as_deref().unwrap_or("");
    let mut options = Value::object();
    if let Some((group, version, kind)) =
        call.kind.subresource_of(call.version, subresource).and_then(|s| s.body.as_ref())
    {
        let api_version = if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
        options.set(&["kind"], kind);
        options.set(&["apiVersion"], api_version);
    }
    if subresource == "proxy" {
        if !x.info.rest.is_empty() {
            options.set(&["path"], x.info.rest);
        }
        return options;
    }
    for field in FLAGS {
        if let Some(flag) = x.query.flag(field).filter(|flag| *flag) {
            options.set(&[field], flag);
        }
    }
    for field in LISTS {
        let given: Vec<&str> = x.query.all(field).filter(|text| !text.is_empty()).collect();
        if !given.is_empty() {
            let number = |text: &&str| text.parse::<i64>().map_or_else(|_| Value::from(*text), Value::from);
            let items: Value =
                given.iter().map(|text| if field == "ports" { number(text) } else { Value::from(*text) }).collect();
            options.set(&[field], items);
        }
    }
    if let Some(container) = x.query.get("container").filter(|name| !name.is_empty()) {
        options.set(&["container"], container);
    }
    options
}
