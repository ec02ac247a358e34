//! The answers of commands, kept for a while, so that who asks again with the same key has the same answer.
//!
//! They are payloads, and so are encrypted and short-lived: a segment file takes the answers of a part of the time that they are kept,
//! each under the segment's own key, which lies in a file beside it. Both go when the time is over. Losing any of it costs no more
//! than an answer: the log knows that the command was done.

mod segment;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use exchange::{millis, ports::Answers};
use futures_util::{FutureExt as _, future::BoxFuture};
use prost::Message as _;
use proto::records::KeptAnswer;
use records::CommandKey;

use self::segment::Segment;

/// Segments that the time and the room are divided into.
const PARTS: u32 = 16;

/// What is kept, and where.
pub(crate) struct AnswerStore {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    folder: PathBuf,
    /// How long an answer is kept, in milliseconds.
    keep: u64,
    /// Largest size of all segments, in bytes.
    room: u64,
    /// Oldest first; the last one is written to, if it is of this run.
    segments: Vec<Segment>,
    /// Which segment holds the answer of a key.
    places: HashMap<[u8; 16], u64>,
    /// Number of the segment that is written to.
    open: Option<u64>,
}

impl AnswerStore {
    /// Opens the folder, and deletes what is over. What cannot be read is left out, and said so.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or read.
    pub(crate) fn open(folder: &Path, keep: Duration, room: usize, now: SystemTime) -> std::io::Result<Self> {
        segment::make_folder(folder)?;
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        let mut inner =
            Inner { folder: folder.to_owned(), keep, room, segments: Vec::new(), places: HashMap::new(), open: None };
        for number in segment::numbers(folder)? {
            match Segment::read(folder, number) {
                Ok(segment) => inner.add(segment),
                Err(error) => {
                    tracing::warn!(segment = number, %error, "kept answers of commands cannot be read; they are no longer kept");
                    segment::delete(folder, number);
                }
            }
        }
        inner.sweep(millis(now));
        Ok(Self { inner: Arc::new(Mutex::new(inner)) })
    }

    /// Deletes what is over.
    pub(crate) async fn sweep(&self, now: SystemTime) {
        self.apart(move |inner| inner.sweep(millis(now))).await;
    }

    /// Runs work on files apart from the runtimes that carry exchanges.
    async fn apart<T: Send + 'static>(&self, work: impl FnOnce(&mut Inner) -> T + Send + 'static) -> Option<T> {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&mut lock(&inner))).await.ok()
    }
}

impl Answers for AnswerStore {
    fn keep<'a>(&'a self, key: &'a CommandKey, answer: KeptAnswer) -> BoxFuture<'a, ()> {
        let (key, now) = (*key, millis(SystemTime::now()));
        async move {
            let kept = self.apart(move |inner| inner.keep(&key, &answer.encode_to_vec(), now)).await;
            if let Some(Err(error)) = kept {
                tracing::warn!(%error, "the answer of a command cannot be kept; who asks again is told that it was done");
            }
        }
        .boxed()
    }

    fn find<'a>(&'a self, key: &'a CommandKey) -> BoxFuture<'a, Option<KeptAnswer>> {
        let (key, now) = (*key, millis(SystemTime::now()));
        async move {
            let found = self.apart(move |inner| inner.find(&key, now)).await.flatten()?;
            KeptAnswer::decode(found.as_slice()).ok()
        }
        .boxed()
    }
}

impl Inner {
    fn add(&mut self, segment: Segment) {
        self.places.extend(segment.keys().map(|key| (*key, segment.number)));
        self.segments.push(segment);
    }

    fn keep(&mut self, key: &CommandKey, answer: &[u8], now: u64) -> std::io::Result<()> {
        self.sweep(now);
        let part = (self.keep / u64::from(PARTS), self.room / u64::from(PARTS));
        let fits = |segment: &&mut Segment| segment.number.saturating_add(part.0) > now && segment.bytes() < part.1;
        let open = self.open;
        let current = self.segments.iter_mut().find(|segment| Some(segment.number) == open).filter(fits);
        let short = segment::short(key);
        let number = if let Some(segment) = current {
            segment.append(&short, now, answer)?;
            segment.number
        } else {
            // Named after its time; two of one millisecond follow one another.
            let number = self.segments.last().map_or(now, |last| now.max(last.number.saturating_add(1)));
            let mut segment = Segment::create(&self.folder, number)?;
            segment.append(&short, now, answer)?;
            self.open = Some(number);
            self.add(segment);
            number
        };
        self.places.insert(short, number);
        Ok(())
    }

    fn find(&mut self, key: &CommandKey, now: u64) -> Option<Vec<u8>> {
        self.sweep(now);
        let short = segment::short(key);
        let number = *self.places.get(&short)?;
        let segment = self.segments.iter().find(|segment| segment.number == number)?;
        match segment.find(&short, now.saturating_sub(self.keep)) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(segment = number, %error, "the kept answer of a command cannot be read");
                None
            }
        }
    }

    /// Deletes segments whose last answer is over, and the oldest ones while there is no room.
    fn sweep(&mut self, now: u64) {
        let mut bytes: u64 = self.segments.iter().map(Segment::bytes).sum();
        while let Some(oldest) = self.segments.first() {
            let over = oldest.newest().saturating_add(self.keep) <= now;
            if !over && bytes <= self.room {
                return;
            }
            bytes = bytes.saturating_sub(oldest.bytes());
            let gone = self.segments.remove(0);
            segment::delete(&self.folder, gone.number);
            self.places.retain(|_, number| *number != gone.number);
        }
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const ROOM: usize = 1 << 20;

    fn key(number: u8) -> CommandKey {
        CommandKey([number; 32])
    }

    fn answer(text: &str) -> KeptAnswer {
        KeptAnswer { message: Bytes::copy_from_slice(text.as_bytes()), has_message: true, ..KeptAnswer::default() }
    }

    fn open(folder: &Path) -> AnswerStore {
        AnswerStore::open(folder, DAY, ROOM, SystemTime::now()).unwrap()
    }

    #[tokio::test]
    async fn an_answer_outlives_a_restart_and_is_not_there_in_plain() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.keep(&key(1), answer("canary-7f3a")).await;
        store.keep(&key(2), answer("other")).await;
        for store in [store, open(folder.path())] {
            assert_eq!(store.find(&key(1)).await, Some(answer("canary-7f3a")));
            assert_eq!(store.find(&key(2)).await, Some(answer("other")));
            assert_eq!(store.find(&key(3)).await, None);
        }
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(11).any(|part| part == b"canary-7f3a"));
        }
    }

    #[tokio::test]
    async fn what_is_over_is_deleted_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.keep(&key(1), answer("old")).await;
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        store.sweep(SystemTime::now() + DAY + Duration::from_secs(1)).await;
        assert_eq!(store.find(&key(1)).await, None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn where_there_is_no_room_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let store = AnswerStore::open(folder.path(), DAY, 64 * 1024, SystemTime::now()).unwrap();
        for number in 0..100 {
            store.keep(&key(number), answer(&"x".repeat(2000))).await;
        }
        assert_eq!(store.find(&key(0)).await, None);
        assert!(store.find(&key(99)).await.is_some());
        let size: u64 = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
        assert!(size < 70 * 1024, "{size}");
    }

    #[tokio::test]
    async fn a_torn_or_changed_answer_is_not_kept_and_hurts_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.keep(&key(1), answer("first")).await;
        store.keep(&key(2), answer("second")).await;
        let file = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().path());
        let file = file.into_iter().find(|f| f.extension().is_some_and(|e| e == "answers")).unwrap();
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        let store = open(folder.path());
        assert_eq!(store.find(&key(1)).await, Some(answer("first")));
        assert_eq!(store.find(&key(2)).await, None);
        let mut changed = whole;
        let last = changed.len() - 1;
        changed[last] ^= 1;
        std::fs::write(&file, changed).unwrap();
        let store = open(folder.path());
        assert_eq!(store.find(&key(1)).await, Some(answer("first")));
        assert_eq!(store.find(&key(2)).await, None);
        // Without the key of the segment nothing of it can be read.
        std::fs::remove_file(file.with_extension("key")).unwrap();
        assert_eq!(open(folder.path()).find(&key(1)).await, None);
    }
}
