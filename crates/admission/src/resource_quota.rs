//! ResourceQuota: a write that the quotas of its namespace do not cover is refused, and one that they do is charged to them in
//! the write's own transaction: two writes never share the same room, and one that fails costs nothing.
//!
//! Decided against upstream's order (quota first, then the object), which charges for writes that fail afterwards.

use base::{Result, Status};
use quota::{Limited, Refusal, Subject, Write};
use resource::{Beside, Charge};
use schema::Operation;
use value::Value;

const QUOTAS: &str = "resourcequotas";

/// What a write changes in the quotas of its namespace.
pub fn charge(write: &Charge<'_>, limited: &[Limited]) -> Result<Vec<Beside>> {
    let call = write.call;
    if call.namespace.is_empty() || !matches!(write.operation, Operation::Create | Operation::Update) {
        return Ok(Vec::new());
    }
    let mut quotas = write.view.list("", QUOTAS, Some(&call.namespace));
    let concerns = |limited: &Limited| limited.is_about(&call.kind.group, &call.kind.plural) || limited.has_scopes();
    if quotas.is_empty() && !limited.iter().any(concerns) {
        return Ok(Vec::new());
    }
    // Messages name the first of those that are full.
    quotas.sort_by(|a, b| a.key.cmp(&b.key));
    let trees: Vec<Value> = quotas.iter().map(|quota| quota.value()).collect();
    let asked = Write {
        subject: Subject { group: &call.kind.group, plural: &call.kind.plural },
        subresource: call.subresource.as_deref().unwrap_or(""),
        object: write.object,
        old: write.old,
        now: write.now,
    };
    let charged = quota::charge(&trees, &asked, limited).map_err(|refusal| match refusal {
        Refusal::Forbidden(why) => {
            let kind = &call.kind;
            Status::forbidden(&kind.group, &kind.plural, write.object.name(), &why)
        }
        Refusal::Plain(why) => Status::plain(why),
    })?;
    let beside = charged.into_iter().filter_map(|(i, used)| {
        let (old, mut new) = (quotas.get(i)?.clone(), trees.get(i)?.clone());
        new.set(&["status", "used"], used.to_value());
        Some(Beside { group: "", plural: QUOTAS, old, new })
    });
    Ok(beside.collect())
}
