//! Docker and OCI archives, good and damaged, into a store and out to directories.

mod common;

use common::{Layer, TempDir, config, descriptor, gzip, host_architecture, manifest};
use images::{Digest, Error, Image, Limits, Store};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use tar::EntryType;

impl Layer {
    fn dir(self, name: &str) -> Self {
        self.raw(name, EntryType::Directory, 0o755, "", b"")
    }

    fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.0.append_pax_extensions([(key, value)]).expect("in memory");
        self
    }
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::of(bytes).hex())
}

fn docker_archive(layers: &[Vec<u8>], tag: &str) -> Vec<u8> {
    let config = config(&host_architecture(), layers);
    let names: Vec<_> = (0..layers.len()).map(|n| format!("l{n}/layer.tar")).collect();
    let manifest = json!([{"Config": "c.json", "RepoTags": [tag], "Layers": names}]).to_string();
    let mut archive = Layer::new().file("manifest.json", manifest.as_bytes()).file("c.json", &config);
    for (name, layer) in names.iter().zip(layers) {
        archive = archive.file(name, layer);
    }
    archive.build()
}

fn import(dir: &TempDir, bytes: &[u8]) -> Result<Vec<Image>, Error> {
    let file = dir.path().join("image.tar");
    fs::write(&file, bytes).expect("write archive");
    Store::open(&dir.path().join("store")).expect("open").import(&file)
}

fn failure(dir: &TempDir, bytes: &[u8]) -> String {
    let text = import(dir, bytes).expect_err("must be refused").to_string();
    text.replace(&dir.path().display().to_string(), "DIR")
}

/// The single layer of a one-layer image.
fn unpacked(dir: &TempDir, layer: Vec<u8>) -> Result<PathBuf, Error> {
    import(dir, &docker_archive(&[layer], "x")).map(|images| images[0].layers[0].clone())
}

#[test]
fn docker_archive_with_shared_layers() {
    let dir = TempDir::new("docker");
    let base = Layer::new().dir("etc").file("etc/os", b"base").build();
    let top = Layer::new().file("app", b"one").build();
    let one = import(&dir, &docker_archive(&[base.clone(), top], "one:1")).expect("import")[0].clone();
    let two = import(&dir, &gzip(&docker_archive(&[base], "two"))).expect("import of a gzipped archive")[0].clone();
    assert_eq!(one.repo_tags, ["docker.io/library/one:1"]);
    assert_eq!(one.layers[0], two.layers[0]);
    assert_eq!(fs::read(one.layers[1].join("app")).expect("app"), b"one");
    assert_eq!((one.config.user.as_str(), one.config.working_dir.as_str()), ("1000:1000", "/srv"));
    assert_eq!((one.config.entrypoint.as_slice(), one.config.cmd.len()), (&["/bin/app".to_string()][..], 0));
    assert_eq!((one.config.stop_signal.as_str(), one.config.exposed_ports[0].as_str()), ("SIGQUIT", "80/tcp"));

    // A second process sees the same images by every name.
    let store = Store::open(&dir.path().join("store")).expect("open");
    for name in ["one:1", "docker.io/library/one:1", one.id.as_str(), &one.id[7..]] {
        assert_eq!(store.get(name).as_ref(), Some(&one), "{name}");
    }
    assert_eq!(store.get("one"), None);
    assert_eq!(store.list().expect("list").len(), 2);

    // Removing one keeps what the other needs, and a hold keeps the rest.
    store.hold("pod-1", &one).expect("hold");
    store.remove("one:1").expect("remove");
    assert!(store.get(&one.id).is_none() && one.layers[1].exists());
    store.release("pod-1").expect("release");
    let collected = store.collect().expect("collect");
    assert_eq!((collected.layers, one.layers[1].exists(), one.layers[0].exists()), (1, false, true));
    store.remove(&two.id).expect("remove");
    assert!(!two.layers[0].exists());
    store.remove("never:there").expect("removing nothing is no error");
}

#[test]
fn a_tag_moves() {
    let dir = TempDir::new("tag");
    let one = import(&dir, &docker_archive(&[Layer::new().file("a", b"1").build()], "x")).expect("import")[0].clone();
    let two = import(&dir, &docker_archive(&[Layer::new().file("a", b"2").build()], "x")).expect("import")[0].clone();
    let store = Store::open(&dir.path().join("store")).expect("open");
    assert_eq!(store.get("x").map(|image| image.id), Some(two.id));
    assert_eq!(store.get(&one.id).expect("still there").repo_tags, Vec::<String>::new());
    let tagged = store.tag(&one.id, &"y:2".parse().expect("name")).expect("tag");
    assert_eq!(tagged.repo_tags, ["docker.io/library/y:2"]);
}

#[test]
fn oci_archive_by_platform() {
    let dir = TempDir::new("oci");
    let plain = [Layer::new().file("a", b"right").build(), Layer::new().file("b", b"zstd").build()];
    let zstd = ruzstd::encoding::compress_to_vec(&plain[1][..], ruzstd::encoding::CompressionLevel::Fastest);
    let packed = [gzip(&plain[0]), zstd];
    let right_config = config(&host_architecture(), &plain);
    let right = manifest(&right_config, &packed);
    let wrong_config = config("s390x", &plain);
    let wrong = manifest(&wrong_config, &packed);
    let mut entries = [descriptor(images::spec::OCI_MANIFEST, &wrong), descriptor(images::spec::OCI_MANIFEST, &right)];
    entries[0]["platform"] = json!({"os": "linux", "architecture": "s390x"});
    entries[1]["platform"] = json!({"os": "linux", "architecture": host_architecture()});
    let list = json!({"schemaVersion": 2, "mediaType": images::spec::OCI_INDEX, "manifests": entries}).to_string();
    let mut top = descriptor(images::spec::OCI_INDEX, list.as_bytes());
    top["annotations"] = json!({"io.containerd.image.name": "r.io/app:1", "org.opencontainers.image.ref.name": "1"});
    let index = json!({"schemaVersion": 2, "manifests": [top]}).to_string();
    let archive = |skip: &[u8], swap: Option<&[u8]>| {
        let mut archive = Layer::new().file("oci-layout", b"{}").file("./index.json", index.as_bytes());
        let blobs: [&[u8]; 7] = [list.as_bytes(), &right_config, &right, &wrong_config, &wrong, &packed[0], &packed[1]];
        for bytes in blobs {
            if bytes != skip {
                archive = archive.file(&blob(bytes), swap.filter(|_| bytes == &packed[0][..]).unwrap_or(bytes));
            }
        }
        archive.build()
    };
    // Refusals first, so that no unpacked layer makes the blob unnecessary.
    let missing = failure(&dir, &archive(&right_config, None));
    assert_eq!(missing, format!("image archive DIR/image.tar: {} is missing", blob(&right_config)));
    let mut rotten = packed[0].clone();
    let last = rotten.len() - 1;
    rotten[last] ^= 1;
    let swapped = failure(&dir, &archive(b"", Some(&rotten)));
    let (expected, actual) = (Digest::of(&packed[0]), Digest::of(&rotten));
    assert_eq!(swapped, format!("DIR/image.tar: {}: expected {expected}, got {actual}", blob(&packed[0])));

    let images = import(&dir, &archive(b"", None)).expect("import");
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].repo_tags, ["r.io/app:1"]);
    assert_eq!(images[0].repo_digests, [format!("r.io/app@{}", Digest::of(&right))]);
    assert_eq!(fs::read(images[0].layers[0].join("a")).expect("a"), b"right");
    assert_eq!(fs::read(images[0].layers[1].join("b")).expect("b"), b"zstd");
}

#[test]
fn damaged_archives_say_what_is_wrong() {
    let dir = TempDir::new("damaged");
    let good = docker_archive(&[Layer::new().file("a", &[7; 3000]).build()], "x");
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("empty", Vec::new(), "neither manifest.json nor index.json inside: not an image archive"),
        ("no archive", b"GET / HTTP/1.1".repeat(100), "damaged or not a tar archive"),
        ("torn", good[..good.len() - 4000].to_vec(), "truncated: l0/layer.tar needs"),
        ("torn gzip", gzip(&good)[..60].to_vec(), "cannot decompress"),
        ("other tar", Layer::new().file("x", b"").build(), "neither manifest.json nor index.json"),
        ("malformed", Layer::new().file("manifest.json", b"[{").build(), "malformed manifest.json"),
        ("no image", Layer::new().file("manifest.json", b"[]").build(), "manifest.json lists no image"),
        ("no config", Layer::new().file("manifest.json", br#"[{"Config":"c","Layers":[]}]"#).build(), "c is missing"),
    ];
    for (name, bytes, expected) in cases {
        let text = failure(&dir, &bytes);
        assert!(text.starts_with("image archive DIR/image.tar: ") && text.contains(expected), "{name}: {text}");
    }
    let store = Store::open(&dir.path().join("store")).expect("open");
    let text = store.import(&dir.path().join("absent.tar")).expect_err("absent").to_string();
    assert!(text.ends_with("absent.tar: No such file or directory (os error 2)"), "{text}");
    assert_eq!(store.list().expect("list"), []);
    // Nothing is left behind by the failures.
    assert_eq!(fs::read_dir(dir.path().join("store/ingest")).expect("ingest").count(), 0);
    assert_eq!(fs::read_dir(dir.path().join("store/layers")).expect("layers").count(), 0);
}

#[test]
fn a_wrong_diff_id_is_refused() {
    let dir = TempDir::new("diffid");
    let (told, given) = (Layer::new().file("a", b"1").build(), Layer::new().file("a", b"2").build());
    let config = config(&host_architecture(), std::slice::from_ref(&told));
    let archive = Layer::new()
        .file("manifest.json", br#"[{"Config":"c","RepoTags":["x"],"Layers":["l"]}]"#)
        .file("c", &config)
        .file("l", &given)
        .build();
    let expected = format!("DIR/image.tar: l: expected {}, got {}", Digest::of(&told), Digest::of(&given));
    assert_eq!(failure(&dir, &archive), expected);
}

#[test]
fn metadata_links_and_devices() {
    let dir = TempDir::new("metadata");
    // A valid version 2 capability: cap_net_bind_service, effective.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = Layer::new()
        .dir("bin")
        .raw("bin/su", EntryType::Regular, 0o4755, "", b"su")
        .pax("SCHILY.xattr.security.capability", &capability)
        .file("bin/ping", b"ping")
        .raw("bin/hard", EntryType::Link, 0o644, "./bin/su", b"")
        .raw("bin/soft", EntryType::Symlink, 0o777, "../../../etc/passwd", b"")
        .raw("pipe", EntryType::Fifo, 0o600, "", b"")
        .pax("SCHILY.xattr.trusted.overlay.opaque", b"y")
        .file("deep/er/file", b"x")
        .build();
    let root = unpacked(&dir, layer).expect("unpack");
    let su = root.join("bin/su").metadata().expect("su");
    assert_eq!(
        (su.mode() & 0o7777, su.uid(), su.gid(), su.mtime(), su.nlink()),
        (0o4755, 1000, 2000, 1_000_000_000, 2)
    );
    assert_eq!(root.join("bin/hard").metadata().expect("hard").ino(), su.ino());
    let soft = root.join("bin/soft");
    assert_eq!(fs::read_link(&soft).expect("link"), PathBuf::from("../../../etc/passwd"));
    assert_eq!(soft.symlink_metadata().expect("soft").uid(), 1000);
    assert!(root.join("pipe").symlink_metadata().expect("pipe").file_type().is_fifo());
    assert_eq!(root.join("bin").metadata().expect("bin").mtime(), 1_000_000_000);
    let mut value = [0; 64];
    let n = rustix::fs::getxattr(root.join("bin/ping"), "security.capability", &mut value[..]).expect("capability");
    assert_eq!(value[..n], capability);
    // What steers the host's overlayfs is not taken from an archive.
    assert!(rustix::fs::getxattr(root.join("deep/er/file"), "trusted.overlay.opaque", &mut value[..]).is_err());
}

#[test]
fn whiteouts_become_overlay_ones() {
    let dir = TempDir::new("whiteouts");
    let layer = Layer::new()
        .file("gone/.wh.file", b"")
        .dir("opaque")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/new", b"new")
        .file(".wh.both", b"")
        .dir("both")
        .file("both/inside", b"x")
        .dir("late")
        .file(".wh.late", b"")
        .file(".wh.replaced", b"")
        .file("replaced", b"now a file")
        .file(".wh..wh.aufs", b"")
        .build();
    let root = unpacked(&dir, layer).expect("unpack");
    let gone = root.join("gone/file").symlink_metadata().expect("whiteout");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0; 8];
    for name in ["opaque", "both", "late"] {
        let n = rustix::fs::getxattr(root.join(name), "trusted.overlay.opaque", &mut value[..]).expect(name);
        assert_eq!(&value[..n], b"y", "{name}");
    }
    assert_eq!(fs::read(root.join("replaced")).expect("replaced"), b"now a file");
    assert!(!root.join(".wh..wh.aufs").exists() && !root.join("opaque/.wh..wh..opq").exists());
}

#[test]
fn paths_that_escape() {
    let dir = TempDir::new("escape");
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).expect("outside");
    fs::write(outside.join("secret"), "kept").expect("secret");
    let target = outside.display().to_string();
    let up = "../../../outside/file";
    for (name, layer) in [
        ("dots", Layer::new().file(up, b"x")),
        ("dots inside", Layer::new().file("a/../../b", b"x")),
        ("link target", Layer::new().raw("l", EntryType::Link, 0o644, "../../../outside/secret", b"")),
        (
            "link by symlink",
            Layer::new().raw("s", EntryType::Symlink, 0o777, &target, b"").raw(
                "l",
                EntryType::Link,
                0,
                "s/secret",
                b"",
            ),
        ),
    ] {
        let error = unpacked(&dir, layer.build()).expect_err(name);
        assert!(matches!(error, Error::BadContent { .. }), "{name}: {error}");
    }
    // Written through symbolic links: the kernel keeps them inside the layer's root.
    let layer = Layer::new().raw("s", EntryType::Symlink, 0o777, &target, b"").file("s/file", b"x").build();
    let through = unpacked(&dir, layer);
    assert!(through.is_err() || through.is_ok_and(|root| !root.join("file").exists()));
    let layer = Layer::new().file("/abs/file", b"x").raw("abs/file", EntryType::Symlink, 0o777, &target, b"");
    unpacked(&dir, layer.file("abs/file", b"y").build()).expect("replaced, not followed");
    let left: Vec<_> = fs::read_dir(&outside).expect("outside").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(left, ["secret"]);
    assert_eq!(fs::read(outside.join("secret")).expect("secret"), b"kept");
}

/// A small file can be a large layer, and an empty one a million entries.
#[test]
fn a_layer_that_is_too_large_is_refused() {
    let many = (0..20).fold(Layer::new(), |layer, n| layer.file(&format!("f{n}"), b"")).build();
    let large = Layer::new().file("a", &[0; 30_000]).build();
    for (layer, limits, want) in [
        (&many, Limits { entries: 20, ..Limits::default() }, None),
        (
            &many,
            Limits { entries: 19, ..Limits::default() },
            Some("layer has more entries than this node's limit of 19"),
        ),
        (&large, Limits { bytes: large.len() as u64, ..Limits::default() }, None),
        (
            &large,
            Limits { bytes: 20_000, ..Limits::default() },
            Some("layer is larger than this node's limit of 20000 bytes"),
        ),
    ] {
        let dir = TempDir::new("limits");
        let store = Store::open(&dir.path().join("store")).expect("open");
        store.set_limits(limits);
        let file = dir.path().join("image.tar");
        fs::write(&file, docker_archive(std::slice::from_ref(layer), "x")).expect("archive");
        match (store.import(&file), want) {
            (Ok(_), None) => {}
            (Err(error), Some(want)) => assert!(error.to_string().ends_with(want), "{error}"),
            (other, want) => panic!("{other:?}, wanted {want:?}"),
        }
        // Nothing half-made stays.
        assert_eq!(fs::read_dir(dir.path().join("store/ingest")).expect("ingest").count(), 0);
    }
}

#[test]
fn a_removed_layer_is_had_again() {
    let dir = TempDir::new("lost");
    let archive = docker_archive(&[Layer::new().file("a", b"1").build()], "x");
    let image = import(&dir, &archive).expect("import")[0].clone();
    fs::remove_dir_all(&image.layers[0]).expect("lose the layer");
    let store = Store::open(&dir.path().join("store")).expect("open");
    assert_eq!(store.get("x"), None);
    assert_eq!(import(&dir, &archive).expect("import")[0], image);
}

#[test]
fn several_imports_at_once() {
    let dir = TempDir::new("parallel");
    let file = dir.path().join("image.tar");
    fs::write(&file, docker_archive(&[Layer::new().file("a", &[1; 100_000]).build()], "x")).expect("archive");
    let imports: Vec<_> = (0..4)
        .map(|_| {
            let (root, file) = (dir.path().join("store"), file.clone());
            std::thread::spawn(move || Store::open(&root).expect("open").import(&file).expect("import")[0].id.clone())
        })
        .collect();
    let ids: Vec<_> = imports.into_iter().map(|thread| thread.join().expect("thread")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(fs::read_dir(dir.path().join("store/ingest")).expect("ingest").count(), 0);
}

#[test]
fn the_toolbox_image() {
    use images::toolbox::{Recipe, TOOLBOX, make_image, write_archive};
    let dir = TempDir::new("toolbox");
    let binary = dir.path().join("ferry");
    fs::write(&binary, b"#!static").expect("binary");
    fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    let recipe = Recipe { binary: &binary, tag: TOOLBOX, links: &["sh", "cat"], cmd: &["/bin/sh"] };
    let store = Store::open(&dir.path().join("store")).expect("open");
    let image = make_image(&store, &recipe).expect("make");
    assert_eq!(image.repo_tags, [TOOLBOX]);
    let root = &image.layers[0];
    assert_eq!(root.join("bin/ferry").metadata().expect("ferry").ino(), binary.metadata().expect("binary").ino());
    assert_eq!(fs::read(root.join("bin/sh")).expect("sh"), b"#!static");
    assert_eq!(root.join("tmp").metadata().expect("tmp").mode() & 0o7777, 0o1777);
    assert_eq!(make_image(&store, &recipe).expect("again"), image);

    // The archive is the same image.
    let mut archive = Vec::new();
    write_archive(&recipe, &mut archive).expect("archive");
    let other = TempDir::new("toolbox-archive");
    let imported = import(&other, &archive).expect("import")[0].clone();
    assert_eq!((imported.id, imported.repo_tags), (image.id.clone(), image.repo_tags.clone()));

    // A new binary is a new image under the same name.
    fs::remove_file(&binary).expect("replace");
    fs::write(&binary, b"#!static 2").expect("binary");
    let next = make_image(&store, &recipe).expect("make");
    assert_ne!(next.id, image.id);
    assert_eq!(store.get(TOOLBOX).map(|image| image.id), Some(next.id));
}
