//! Every verb in every encoding and shape, on every kind.

use crate::{
    subject::{Subject, each_in, revision},
    tree::{alike, bytes, read, shaped, tree},
};
use schema::Features;
use testkit::{Answer, Caller, Cluster, Setup, Value, json};
use wire::{Encoding, cbor, protobuf};

const ALL: [Encoding; 4] = [Encoding::Json, Encoding::Yaml, Encoding::Protobuf, Encoding::Cbor];

fn with_cbor() -> Setup {
    Setup { features: Features { cbor: true }, ..Setup::default() }
}

/// Runs a test on every kind of a server that has CBOR.
async fn each(test: impl AsyncFn(&Subject)) {
    each_in(with_cbor(), async |_: &Cluster| {}, test).await;
}

/// False for the one combination that there is not.
fn has(s: &Subject, encoding: Encoding) -> bool {
    encoding != Encoding::Protobuf || !s.custom()
}

fn reading(s: &Subject, encoding: Encoding) -> Caller {
    s.admin.with("accept", encoding.media_type())
}

/// The body of an answer in that encoding, where code and content type are right.
#[track_caller]
fn body(s: &Subject, what: &str, answer: &Answer, code: u16, encoding: Encoding) -> Value {
    s.holds(&format!("{what}: {} instead of {code}: {}", answer.code, answer.text()), answer.code == code);
    s.same(&format!("{what}: content type"), answer.content_type(), encoding.media_type());
    read(answer)
}

#[tokio::test]
async fn verbs() {
    each(async |s: &Subject| {
        for (i, encoding) in ALL.into_iter().enumerate().filter(|(_, encoding)| has(s, *encoding)) {
            let plain = format!("in-{}", ["json", "yaml", "pb", "cbor"][i]);
            let (collection, path) = (s.collection(), s.path(&plain));
            let (caller, media) = (reading(s, encoding), encoding.media_type());
            let object = s.labelled(&plain, "a");

            let dry = format!("{collection}?dryRun=All&fieldValidation=Strict");
            let answer = caller.send("POST", &dry, media, bytes(&object, encoding)).await;
            let dry = body(s, "dry run", &answer, 201, encoding);
            s.same("dry run: name", dry["metadata"]["name"].as_str(), Some(s.name(&plain).as_str()));
            let answer = caller.send("POST", &collection, media, bytes(&object, encoding)).await;
            let made = body(s, "create", &answer, 201, encoding);
            let plainly = s.admin.get(&path).await;
            let plainly = s.code("get in JSON", &plainly, 200);
            if !s.told() {
                s.same("create", &shaped(s, &made), &shaped(s, &plainly));
            }
            let answer = caller.get(&path).await;
            let got = body(s, "get", &answer, 200, encoding);
            s.same("get", &shaped(s, &got), &shaped(s, &plainly));

            let mut next = plainly.clone();
            next["metadata"]["labels"]["step"] = "1".into();
            let answer = caller.send("PUT", &path, media, bytes(&next, encoding)).await;
            let put = body(s, "put", &answer, 200, encoding);
            s.same("put", put["metadata"]["labels"]["step"].as_str(), Some("1"));
            let answer = caller.patch(&path, "merge", &json!({"metadata": {"labels": {"step": plain}}})).await;
            let patched = body(s, "patch", &answer, 200, encoding);
            s.same("patch", patched["metadata"]["labels"]["step"].as_str(), Some(plain.as_str()));

            let answer = caller.get(&format!("{collection}?labelSelector=step%3D{plain}")).await;
            let list = body(s, "list", &answer, 200, encoding);
            s.same("list: kind", list["kind"].as_str(), Some(s.kind.list_kind.as_str()));
            s.same("list: items", list["items"].as_array().map(Vec::len), Some(1));
            s.holds("list: the item", alike(&list["items"][0]["metadata"], &patched["metadata"]));
            let answer = caller.get(&format!("{collection}?labelSelector=none")).await;
            let list = body(s, "an empty list", &answer, 200, encoding);
            s.same("an empty list", list["items"].as_array().map_or(0, Vec::len), 0);

            let answer = caller.get(&s.path("none")).await;
            let status = body(s, "a failure", &answer, 404, encoding);
            s.same("a failure", (&status["kind"], &status["code"]), (&json!("Status"), &json!(404)));
            let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
            let answer = caller.send("DELETE", &path, media, bytes(&options, encoding)).await;
            body(s, "delete", &answer, 200, encoding);
        }
    })
    .await;
}

/// Unknown fields are found in whatever says their names; what stands twice, in what lets it.
#[tokio::test]
async fn field_validation() {
    each(async |s: &Subject| {
        let mut object = s.object("one");
        object["bogus"] = json!(1);
        for encoding in [Encoding::Yaml, Encoding::Cbor] {
            let send = async |directive: &str| {
                let path = format!("{}?dryRun=All&fieldValidation={directive}", s.collection());
                s.admin.send("POST", &path, encoding.media_type(), bytes(&object, encoding)).await
            };
            let warned = send("Warn").await;
            s.code("Warn", &warned, 201);
            s.holds("Warn", warned.warnings().contains(&"unknown field \"bogus\"".to_string()));
            let strict = send("Strict").await;
            let status = s.code("Strict", &strict, 400);
            let message = status["message"].as_str().unwrap_or_default().to_string();
            s.holds(&message, message.ends_with("strict decoding error: unknown field \"bogus\""));
            let ignored = send("Ignore").await;
            s.code("Ignore", &ignored, 201);
        }
    })
    .await;
}

#[tokio::test]
async fn watches() {
    each(async |s: &Subject| {
        s.create(&s.labelled("w", "a")).await;
        let plainly = s.admin.get(&s.path("w")).await;
        let plainly = s.code("get", &plainly, 200);
        for (accept, content_type, kind) in [
            (protobuf::MEDIA_TYPE, protobuf::STREAM_TYPE, s.kind.kind.as_str()),
            (cbor::MEDIA_TYPE, cbor::STREAM_TYPE, s.kind.kind.as_str()),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                protobuf::STREAM_TYPE,
                "PartialObjectMetadata",
            ),
            (
                "application/cbor;as=PartialObjectMetadata;g=meta.k8s.io;v=v1beta1",
                cbor::STREAM_TYPE,
                "PartialObjectMetadata",
            ),
        ] {
            if accept == protobuf::MEDIA_TYPE && s.custom() {
                continue;
            }
            let url = format!("{}?watch=1&labelSelector=tier", s.collection());
            let (found, event) = s.admin.with("accept", accept).first_frame(&url, frame).await;
            s.same("content type", found.as_str(), content_type);
            s.same(accept, (&event["type"], event["object"]["kind"].as_str()), (&json!("ADDED"), Some(kind)));
            s.same("the object", revision(&event["object"]), revision(&plainly));
        }
        let url = format!("{}?watch=1", s.collection());
        let answer = s.admin.with("accept", "application/yaml").get(&url).await;
        s.same("YAML has no stream", (answer.code, answer.content_type()), (406, "application/yaml"));
    })
    .await;
}

/// The first event of a stream, once all its bytes are there.
fn frame(bytes: &[u8]) -> Option<Value> {
    if cbor::is_self_described(bytes) {
        return cbor::decode_first(bytes).ok().map(|(event, _)| tree(&event));
    }
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let event = rest.get(..u32::from_be_bytes(*length) as usize)?;
    let schema = protobuf::schema_of("v1", "WatchEvent")?;
    let event = protobuf::parse_message(&schema, event);
    Some(event.map_or_else(|e| json!({"type": format!("broken: {e}")}), |event| tree(&event)))
}

/// PartialObjectMetadata of what each verb answers.
#[tokio::test]
async fn metadata_of_every_answer() {
    each(async |s: &Subject| {
        s.create(&s.labelled("m", "a")).await;
        for (encoding, version) in ALL.into_iter().flat_map(|e| [(e, "v1"), (e, "v1beta1")]) {
            let (media, api_version) = (encoding.media_type(), format!("meta.k8s.io/{version}"));
            let of = |kind: &str| s.admin.with("accept", &format!("{media};as={kind};g=meta.k8s.io;v={version}"));
            let (one, many) = (of("PartialObjectMetadata"), of("PartialObjectMetadataList"));
            let (collection, path) = (s.collection(), s.path("m"));
            let label = json!({"metadata": {"labels": {"x": "y"}}});
            let dry = format!("{collection}?dryRun=All");
            for (what, code, answer) in [
                ("get", 200, one.get(&path).await),
                ("create", 201, one.post(&dry, &s.object("n")).await),
                ("patch", 200, one.patch(&format!("{path}?dryRun=All"), "merge", &label).await),
            ] {
                let what = format!("{what} in {media} {version}");
                let got = body(s, &what, &answer, code, encoding);
                let said = (got["kind"].as_str(), got["apiVersion"].as_str());
                s.same(&what, said, (Some("PartialObjectMetadata"), Some(api_version.as_str())));
                let rest: Vec<_> = got.as_object().into_iter().flat_map(|map| map.keys().map(String::as_str)).collect();
                s.same(&what, rest, vec!["apiVersion", "kind", "metadata"]);
            }
            let answer = many.get(&format!("{collection}?labelSelector=tier")).await;
            let answered = (answer.code, answer.content_type());
            s.same("list", answered, (200, media));
            let list = read(&answer);
            let told = (list["kind"].as_str(), list["items"].as_array().map(Vec::len));
            s.same("list", told, (Some("PartialObjectMetadataList"), Some(1)));
            s.same("item", list["items"][0]["metadata"]["name"].as_str(), Some(s.name("m").as_str()));
            if version == "v1" {
                let custom = s.custom();
                let group = s.kind.group.split('.').next().unwrap_or("").to_string();
                let package = if matches!(&*s.kind.group, "" | "events.k8s.io") { "core" } else { &group };
                let name = |suffix: &str| match custom {
                    true => format!("*unstructured.Unstructured{suffix}"),
                    false => format!("*{package}.{}{suffix}", s.kind.kind),
                };
                let refused = one.get(&collection).await;
                let why = format!(
                    "you requested PartialObjectMetadata, but the requested object is a list ({})",
                    name("List")
                );
                s.same("one of many", said(&refused), (406, why));
                let refused = many.get(&path).await;
                let why = format!(
                    "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
                    name("")
                );
                s.same("many of one", said(&refused), (406, why));
            }
        }
    })
    .await;
}

/// Code and message of a refusal, in whatever encoding.
fn said(answer: &Answer) -> (u16, String) {
    (answer.code, read(answer)["message"].as_str().unwrap_or_default().into())
}

#[tokio::test]
async fn tables_of_every_answer() {
    each(async |s: &Subject| {
        s.create(&s.labelled("t", "a")).await;
        let (collection, path) = (s.collection(), s.path("t"));
        let label = json!({"metadata": {"labels": {"x": "y"}}});
        for encoding in [Encoding::Json, Encoding::Yaml] {
            let tables = s.admin.with("accept", &format!("{};as=Table;g=meta.k8s.io;v=v1", encoding.media_type()));
            for (what, code, answer) in [
                ("get", 200, tables.get(&path).await),
                ("list", 200, tables.get(&format!("{collection}?labelSelector=tier")).await),
                ("create", 201, tables.post(&format!("{collection}?dryRun=All"), &s.object("n")).await),
                ("patch", 200, tables.patch(&format!("{path}?dryRun=All"), "merge", &label).await),
            ] {
                let table = body(s, what, &answer, code, encoding);
                s.same(what, (&table["kind"], table["rows"].as_array().map(Vec::len)), (&json!("Table"), Some(1)));
                let partial = &table["rows"][0]["object"];
                s.same(what, partial["kind"].as_str(), Some("PartialObjectMetadata"));
            }
        }
        for media in [protobuf::MEDIA_TYPE, cbor::MEDIA_TYPE] {
            let answer = s.admin.with("accept", &format!("{media};as=Table;g=meta.k8s.io;v=v1")).get(&path).await;
            let names = Encoding::names(true);
            let why = format!("only the following media types are accepted: {names}");
            s.same("no Table", said(&answer), (406, why));
        }
        let bad = s.admin.with("accept", "application/json;as=Table;g=meta.k8s.io;v=v1");
        let answer = bad.get(&format!("{path}?includeObject=Some")).await;
        let why = "Unable to convert to Table as requested: includeObject: Invalid value: \"Some\": must be 'Metadata', 'Object', 'None', or empty";
        s.refused("another word", &answer, 400, "BadRequest", why);
        let answer = s.admin.get(&format!("{path}?includeObject=Some")).await;
        s.code("nobody asks for a Table", &answer, 200);
    })
    .await;
}

#[tokio::test]
async fn applied() {
    each(async |s: &Subject| {
        let url = format!("{}?fieldManager=m", s.path("one"));
        for (media, encoding, code) in
            [(cbor::APPLY_TYPE, Encoding::Cbor, 201), ("application/apply-patch+yaml", Encoding::Yaml, 200)]
        {
            for answering in ALL.into_iter().filter(|e| has(s, *e)) {
                let caller = reading(s, answering);
                let dry = format!("{url}&dryRun=All");
                let answer = caller.send("PATCH", &dry, media, bytes(&s.object("one"), encoding)).await;
                body(s, media, &answer, code, answering);
            }
            let answer = s.admin.send("PATCH", &url, media, bytes(&s.object("one"), encoding)).await;
            s.code(media, &answer, code);
        }
    })
    .await;
}

/// Without the gate there is no CBOR; and what there is not is refused in upstream's words.
#[tokio::test]
async fn refusals() {
    crate::subject::each(async |s: &Subject| {
        let (collection, path, custom) = (s.collection(), s.path("none"), s.custom());
        let all = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let only = format!("only the following media types are accepted: {all}");
        let routes = |names: &str| format!("406: Not Acceptable\n\nAvailable representations: {names}");
        let streams = format!("{all}, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch");
        for media in [cbor::MEDIA_TYPE, "text/plain"] {
            let caller = s.admin.with("accept", media);
            let want = if custom { only.clone() } else { routes(all) };
            s.same(media, said(&caller.get(&path).await), (406, want));
            let want = if custom { only.clone() } else { routes(&streams) };
            s.same(media, said(&caller.get(&collection).await), (406, want));
            let text = "the body of the request was in an unknown format - accepted media types include";
            let answer = s.admin.send("POST", &collection, media, "{}").await;
            s.same(media, said(&answer), (415, format!("{text}: {all}")));
            let answer = s.admin.send("PATCH", &path, media, "{}").await;
            let patches = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
            let want = if custom { format!("{text}: {patches}") } else { "415: Unsupported Media Type".to_string() };
            s.same(media, said(&answer), (415, want));
        }
        let answer = s.admin.with("accept", "application/json;as=Nothing;g=meta.k8s.io;v=v1").get(&path).await;
        s.same("an unknown shape", said(&answer), (406, only.clone()));
        if custom {
            let answer = s.admin.with("accept", protobuf::MEDIA_TYPE).get(&path).await;
            s.same("no protobuf", said(&answer), (406, only.clone()));
            let sent = bytes(&s.object("one"), Encoding::Protobuf);
            let answer = s.admin.send("POST", &collection, protobuf::MEDIA_TYPE, sent).await;
            s.same("no protobuf", answer.code, 415);
        }
        for accept in [
            "application/json;charset=utf-8",
            "text/html, application/json;q=0.9",
            "*/*",
            "application/json;q=0.1, text/csv",
        ] {
            let answer = s.admin.with("accept", accept).get(&collection).await;
            s.same(accept, (answer.code, answer.content_type()), (200, "application/json"));
        }
        let answer = s.admin.with("accept", "application/json;q=0.1, application/yaml").get(&collection).await;
        s.same("weights", (answer.code, answer.content_type()), (200, "application/yaml"));
        let pretty = s.admin.with("user-agent", "curl/8").get(&collection).await;
        s.holds("for people", pretty.text().starts_with("{\n  \""));
        let plain = s.admin.with("user-agent", "curl/8").get(&format!("{collection}?pretty=false")).await;
        s.holds("unless they say so", plain.text().starts_with("{\""));
    })
    .await;
}
