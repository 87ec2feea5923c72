//! Opening a directory: base, then log, then (only when all of it was good) what a crash left is tidied.
//!
//! The same pass fills index, history, expiries and the end of the log. Nothing on disk is touched before the whole has
//! been read: an error leaves the directory as it was found, for a person to look at.

use crate::{
    Options,
    frame::{self, Kind},
    manifest::{self, Manifest},
    record::{Record, Records},
    segment::{Scanner, Segment, Segments, Step, Table, set_aside, sync_dir},
    state::{Slot, State},
    timer::Due,
};
use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    num::NonZeroU32,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use store::{OpenError, Revision};

const LOCK: &str = "LOCK";

/// What the files say.
pub struct Recovered {
    /// Name and state by number.
    pub keyspaces: BTreeMap<u32, (String, State)>,
    pub segments: Segments,
    pub expiries: Vec<Due>,
    pub log_bytes: u64,
    /// The segment that is written on, the place and the number of the next frame.
    pub active: (NonZeroU32, Arc<Segment>),
    pub at: u64,
    pub frame: u64,
}

/// Makes the directory (readable by its owner only) and takes its lock, which ends with the returned file.
pub fn lock(dir: &Path) -> Result<File, OpenError> {
    let at = |path: &Path| {
        let path = PathBuf::from(path);
        move |source| OpenError::Io { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
    let path = dir.join(LOCK);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let by = file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
            return Err(OpenError::Locked { dir: dir.into(), by });
        }
        Err(TryLockError::Error(source)) => return Err(OpenError::Io { path, source }),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(at(&path))?;
    Ok(file)
}

/// Reads the directory, or makes an empty store in it.
pub fn recover(dir: &Path, options: &Options) -> Result<Recovered, OpenError> {
    let io = |source| OpenError::Io { path: dir.into(), source };
    let files = Files::list(dir).map_err(io)?;
    let manifest = match Manifest::read(dir)? {
        Some(manifest) => manifest,
        None => create(dir, options, &files)?,
    };
    // Again: creating may have added a file.
    let files = Files::list(dir).map_err(io)?;
    let mut reader = Reader::default();
    let mut table = Table::new();
    let mut buffer = Vec::new();

    let base = manifest.base.iter().map(|id| Ok((*id, Arc::new(Segment::open(dir, Kind::Base, *id)?))));
    let base = base.collect::<Result<Vec<_>, OpenError>>()?;
    let mut number = 1;
    for (id, segment) in &base {
        let end;
        (end, buffer) = reader.read(*id, segment, &mut number, buffer)?;
        if end.torn {
            return Err(segment.corrupt(end.at, "a base segment is incomplete"));
        }
    }
    if let Some((_, segment)) = base.last() {
        reader.check_base_end(segment)?;
    }
    table.extend(base);

    let mut last: Option<((NonZeroU32, Arc<Segment>), End)> = None;
    let mut number = manifest.frame;
    for id in files.logs.iter().filter(|id| **id >= manifest.log) {
        let segment = Arc::new(Segment::open(dir, Kind::Log, *id)?);
        if last.is_none() && *id != manifest.log {
            return Err(missing(dir, manifest.log));
        }
        if let Some(((_, previous), end)) = &last
            && end.torn
        {
            return Err(previous.corrupt(end.at, "a frame is incomplete, yet another segment follows"));
        }
        let end;
        (end, buffer) = reader.read(*id, &segment, &mut number, buffer)?;
        table.insert(*id, segment.clone());
        last = Some(((*id, segment), end));
    }
    let Some((active, end)) = last else { return Err(missing(dir, manifest.log)) };

    // All of it was good.
    tidy(dir, options, &files, &table, &active.1, end)?;
    let next = files.highest.map_or(NonZeroU32::MIN, |id| id.saturating_add(1));
    let Reader { keyspaces, expiries, log_bytes, .. } = reader;
    let set = |(_, keyspace, key, revision): &Due| {
        keyspaces.get(keyspace).is_some_and(|(_, state)| state.index.get(key).is_some_and(|s| s.revision == *revision))
    };
    let expiries = expiries.into_iter().filter(set).collect();
    let segments = Segments::new(table, next);
    Ok(Recovered { keyspaces, segments, expiries, log_bytes, active, at: end.at, frame: number })
}

fn missing(dir: &Path, id: NonZeroU32) -> OpenError {
    let file = dir.join(Segment::name(Kind::Log, id));
    OpenError::Corrupt { file, offset: 0, what: "the file is missing".into() }
}

/// What lies in the directory.
#[derive(Default)]
struct Files {
    logs: Vec<NonZeroU32>,
    bases: Vec<NonZeroU32>,
    unnamed: Vec<PathBuf>,
    highest: Option<NonZeroU32>,
}

impl Files {
    fn list(dir: &Path) -> io::Result<Files> {
        let mut files = Files::default();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match Segment::parse_name(name) {
                Some((Kind::Log, id)) => files.logs.push(id),
                Some((Kind::Base, id)) => files.bases.push(id),
                None if name.ends_with(".tmp") => files.unnamed.push(path),
                None => {}
            }
        }
        files.logs.sort_unstable();
        files.highest = files.logs.iter().chain(&files.bases).max().copied();
        Ok(files)
    }
}

/// An empty store: the first log segment, then the manifest. Refused where there are segments with content.
fn create(dir: &Path, options: &Options, files: &Files) -> Result<Manifest, OpenError> {
    let first = NonZeroU32::MIN;
    let manifest = Manifest { base: Vec::new(), log: first, frame: 1 };
    let lost = || OpenError::Corrupt {
        file: dir.join(manifest::NAME),
        offset: 0,
        what: "the manifest is missing, yet there are segments".into(),
    };
    let io = |source| OpenError::Io { path: dir.into(), source };
    match (&files.logs[..], &files.bases[..]) {
        ([], []) => {
            Segment::create(dir, Kind::Log, first, 1, options.segment_bytes).map_err(io)?;
        }
        // The last creation came to here.
        ([only], []) if *only == first => {
            let segment = Segment::open(dir, Kind::Log, first)?;
            if !matches!(Scanner::new(&segment, Vec::new()).step()?, Step::End { .. }) {
                return Err(lost());
            }
        }
        _ => return Err(lost()),
    }
    manifest.write(dir).map_err(io)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // Best effort: the parent may be readable by others only.
        let _ = sync_dir(parent);
    }
    Ok(manifest)
}

/// Removes what no manifest names, and makes the end of the log writable again.
fn tidy(
    dir: &Path,
    options: &Options,
    files: &Files,
    table: &Table,
    active: &Segment,
    end: End,
) -> Result<(), OpenError> {
    if end.torn {
        tracing::warn!(file = %active.path.display(), offset = end.at, "removing a write that was never acknowledged");
        active.file.set_len(end.at).map_err(|e| active.io(e))?;
    }
    if active.file.metadata().map_err(|e| active.io(e))?.len() < options.segment_bytes.max(end.at) {
        set_aside(&active.file, options.segment_bytes.max(end.at))
            .and_then(|()| active.file.sync_all())
            .map_err(|e| active.io(e))?;
    }
    let unnamed =
        |(kind, id): (Kind, &NonZeroU32)| (!table.contains_key(id)).then(|| dir.join(Segment::name(kind, *id)));
    let logs = files.logs.iter().map(|id| (Kind::Log, id));
    let bases = files.bases.iter().map(|id| (Kind::Base, id));
    let old = logs.chain(bases).filter_map(unnamed).chain(files.unnamed.iter().cloned());
    for path in old {
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(OpenError::Io { path, source }),
            _ => {}
        }
    }
    Ok(())
}

/// Where a segment's frames end.
#[derive(Clone, Copy)]
struct End {
    at: u64,
    torn: bool,
}

/// Takes records in.
#[derive(Default)]
struct Reader {
    keyspaces: BTreeMap<u32, (String, State)>,
    expiries: Vec<Due>,
    log_bytes: u64,
    /// Items of the base so far, and what its end said.
    items: u64,
    base_end: Option<u64>,
}

impl Reader {
    /// Reads a segment whose first frame must be `number`, and moves that on.
    fn read(
        &mut self,
        id: NonZeroU32,
        segment: &Segment,
        number: &mut u64,
        buffer: Vec<u8>,
    ) -> Result<(End, Vec<u8>), OpenError> {
        if segment.header.first != *number {
            let what =
                format!("it begins with frame {}, but {number} comes next: frames are missing", segment.header.first);
            return Err(segment.corrupt(0, what));
        }
        let mut scanner = Scanner::new(segment, buffer);
        let end = loop {
            match scanner.step()? {
                Step::Frame { offset, payload } => self.frame(id, segment, offset, payload)?,
                Step::End { at } => break End { at, torn: false },
                Step::Torn { at } => break End { at, torn: true },
            }
        };
        *number = scanner.number;
        if segment.header.kind == Kind::Log {
            self.log_bytes += end.at - frame::SEGMENT_HEADER as u64;
        }
        Ok((end, scanner.into_buffer()))
    }

    fn frame(&mut self, id: NonZeroU32, segment: &Segment, offset: u64, payload: &[u8]) -> Result<(), OpenError> {
        for record in Records::new(payload) {
            let record = record.map_err(|at| segment.corrupt(offset + at as u64, "a record of an unknown format"))?;
            self.record(id, offset, record).map_err(|what| segment.corrupt(offset, what))?;
        }
        Ok(())
    }

    fn record(&mut self, segment: NonZeroU32, offset: u64, record: Record<'_>) -> Result<(), String> {
        let place = |(at, len): (usize, usize)| ((offset + at as u64) as u32, len as u32);
        match record {
            Record::Keyspace { id, name } => {
                let (known, _) = self.keyspaces.entry(id).or_insert_with(|| (name.into(), State::default()));
                if known != name {
                    return Err(format!("keyspace {id} is {known} and also {name}"));
                }
            }
            Record::Txn { keyspace, revision, entries } => {
                let state = state(&mut self.keyspaces, keyspace)?;
                if revision <= state.head {
                    // The base holds it already.
                    return Ok(());
                }
                if revision != state.head.next() {
                    return Err(format!("revision {revision} follows {} in keyspace {keyspace}", state.head));
                }
                for entry in entries {
                    let key = shared_key(state, entry.key);
                    state.apply(key.clone(), revision, segment, entry.value.map(place));
                    if let Some(at) = entry.expires {
                        self.expiries.push((at, keyspace, key, revision));
                    }
                }
            }
            Record::Item { keyspace, revision, entry } => {
                self.items += 1;
                let state = state(&mut self.keyspaces, keyspace)?;
                let key: Arc<str> = entry.key.into();
                let (offset, len) = entry.value.map(place).ok_or("an item without a value")?;
                state.load(key.clone(), Slot { revision, segment, offset, len });
                if let Some(at) = entry.expires {
                    self.expiries.push((at, keyspace, key, revision));
                }
            }
            Record::Floor { keyspace, revision } => {
                let state = state(&mut self.keyspaces, keyspace)?;
                if state.head == Revision::ZERO {
                    // Of a base.
                    state.head = revision;
                }
                state.forget(revision);
            }
            Record::End { items } => self.base_end = Some(items),
        }
        Ok(())
    }

    fn check_base_end(&self, last: &Segment) -> Result<(), OpenError> {
        match self.base_end {
            Some(items) if items == self.items => Ok(()),
            Some(items) => Err(last.corrupt(0, format!("the base holds {} items of {items}", self.items))),
            None => Err(last.corrupt(0, "the base has no end")),
        }
    }
}

fn state(keyspaces: &mut BTreeMap<u32, (String, State)>, id: u32) -> Result<&mut State, String> {
    keyspaces.get_mut(&id).map(|(_, state)| state).ok_or_else(|| format!("keyspace {id} was never named"))
}

fn shared_key(state: &State, key: &str) -> Arc<str> {
    state.index.get_key_value(key).map_or_else(|| key.into(), |(key, _)| key.clone())
}
