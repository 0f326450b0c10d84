//! The directory of a tier: its label, its segments, and a lock that says whose it is.
//!
//! `label` is replaced whole, `NUMBER.segment` only grows, `lock` is held by the process that uses it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cdn_core::{
    cache_key::KeySeed,
    disk::{
        DiskTier, Generation, Label, Place, SegmentId, Work,
        record::{DEAD, RecordHead, RecordHeader},
    },
};
use rand::{TryRng as _, rngs::SysRng};

use super::Unread;

/// How long a process that begins waits for another to let go of the directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Directory {
    /// Takes the directory for this process, and makes it where it is not there. Whoever held it may be about to end, so
    /// it is waited for a little.
    ///
    /// # Errors
    /// The file system refuses, or another process has taken it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(named)?;
        let lock = options().create(true).truncate(false).open(path.join("lock")).map_err(named)?;
        let began = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path: path.to_owned(), _lock: lock }),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(named(io::Error::new(io::ErrorKind::ResourceBusy, "another process uses it")));
                }
                Err(TryLockError::Error(error)) => return Err(named(error)),
            }
        }
    }

    /// Takes the directory of a node that does not run; `None` where there is none.
    ///
    /// # Errors
    /// The file system refuses, or a process uses it.
    pub(super) fn at_rest(path: &Path) -> io::Result<Option<Self>> {
        let lock = match options().open(path.join("lock")) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { path: path.to_owned(), _lock: lock })),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(io::ErrorKind::ResourceBusy, "a process uses it")),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The label, where it is that of this generation. Else the tier becomes an empty one with a new seed.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) fn label(&self, generation: Generation) -> io::Result<Label> {
        let found = match fs::read(self.path.join("label")) {
            Ok(bytes) => Label::parse(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(label) = found.filter(|label| label.generation == generation) {
            return Ok(label);
        }
        for (segment, _) in self.segments()? {
            self.remove(segment)?;
        }
        let mut bits = [0; 16];
        SysRng.try_fill_bytes(&mut bits).map_err(io::Error::other)?;
        let label = DiskTier::blank_label(generation, KeySeed::new(u128::from_le_bytes(bits)));
        self.write_label(&label)?;
        Ok(label)
    }

    /// Replaces the label, whole or not at all.
    ///
    /// # Errors
    /// The file system refuses; the label is what it was then.
    pub(super) fn write_label(&self, label: &Label) -> io::Result<()> {
        let part = self.path.join("label.part");
        options().create(true).truncate(true).open(&part)?.write_all(&label.to_bytes())?;
        fs::rename(part, self.path.join("label"))
    }

    /// Removes the label.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) fn remove_label(&self) -> io::Result<()> {
        missing_is_fine(fs::remove_file(self.path.join("label")))
    }

    /// Tells a tier of everything that is there, and does what it wants done.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) fn recover(&self, tier: &mut DiskTier) -> io::Result<BTreeMap<SegmentId, Arc<File>>> {
        let mut files = BTreeMap::new();
        for (segment, path) in self.segments()? {
            let file = options().read(true).open(path)?;
            let bytes = file.metadata()?.len();
            let whole = tier.recover(segment, bytes, |offset, n| read_at_most(&file, offset, n))?;
            if whole < bytes {
                file.set_len(whole)?;
            }
            files.insert(segment, Arc::new(file));
        }
        tier.recovered();
        while let Some(work) = tier.poll_work() {
            match work {
                Work::Kill(place) => kill(files.get(&place.segment), place)?,
                Work::Remove(segment) => {
                    files.remove(&segment);
                    self.remove(segment)?;
                }
            }
        }
        Ok(files)
    }

    /// A segment that is not there yet.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) fn create(&self, segment: SegmentId) -> io::Result<File> {
        options().read(true).create(true).truncate(true).open(self.file(segment))
    }

    /// Removes a segment.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) fn remove(&self, segment: SegmentId) -> io::Result<()> {
        missing_is_fine(fs::remove_file(self.file(segment)))
    }

    fn file(&self, segment: SegmentId) -> PathBuf {
        self.path.join(format!("{segment:020}.segment"))
    }

    fn segments(&self) -> io::Result<BTreeMap<SegmentId, PathBuf>> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let is_segment = path.extension().is_some_and(|extension| extension == "segment");
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if let Some(segment) = number.filter(|_| is_segment) {
                all.insert(segment, path);
            }
        }
        Ok(all)
    }
}

/// Says of a record that it may not be used any more. A segment that is gone has no records.
///
/// # Errors
/// The file system refuses.
pub(super) fn kill(file: Option<&Arc<File>>, place: Place) -> io::Result<()> {
    file.map_or(Ok(()), |file| file.write_all_at(&DEAD, place.offset))
}

/// Exactly so many bytes.
///
/// # Errors
/// The file system refuses, or the file has no more.
pub(super) fn read_at(file: &File, offset: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    let mut buffer = vec![0; bytes];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer)
}

/// Header and head of a record.
///
/// # Errors
/// The file system refuses, or the record is damaged.
pub(super) fn read_head(file: &File, seed: KeySeed, place: Place) -> Result<(RecordHeader, RecordHead), Unread> {
    let start = read_at_most(file, place.offset, 4 << 10)?;
    let header = RecordHeader::parse(seed, &start)?;
    let start = match start.len() < header.head_end() {
        true => read_at_most(file, place.offset, header.head_end())?,
        false => start,
    };
    let head = header.head(seed, &start)?;
    Ok((header, head))
}

fn read_at_most(file: &File, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// Files are the user's own.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
