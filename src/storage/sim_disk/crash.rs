//! What survives on the simulated disk when the process or the machine stops.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Node, SimDisk, State};
use crate::storage::frame::SECTOR;

/// What is left of the operations that were not synced when the machine or the process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Only the process dies: everything written is still there, and still not synced.
    Process,
    /// Power is lost; nothing that was not synced survives.
    LoseAll,
    /// Power is lost just after everything reached the disk.
    KeepAll,
    /// Power is lost; each operation is lost, kept, or kept in some of its sectors, in no order.
    Random {
        /// Decides.
        seed: u64,
    },
    /// Power is lost; operations are kept in order until one, of which the first bytes are kept.
    Torn {
        /// Decides which operation and how many bytes.
        seed: u64,
    },
    /// Power is lost; everything is kept but the end of the last write.
    TornLast {
        /// So many bytes of the last write are kept.
        bytes: usize,
    },
}

impl SimDisk {
    /// Stops everything that has files open; what follows is the next start.
    pub fn crash(&self, crash: Crash) {
        let mut state = self.state();
        state.life += 1;
        state.stop_at = None;
        state.locks.clear();
        if crash == Crash::Process {
            return;
        }
        let mut order: Vec<u64> = state.pending.iter().map(|(step, _)| *step).collect();
        order.extend(state.files.values().flat_map(|file| file.pending.iter().map(|(s, _)| *s)));
        order.sort_unstable();
        let mut random = match crash {
            Crash::Random { seed } | Crash::Torn { seed } => Random::new(seed),
            _ => Random::new(0),
        };
        let torn = match crash {
            Crash::Torn { .. } => order.get(random.below(order.len() as u64) as usize).copied(),
            Crash::TornLast { .. } => order.last().copied(),
            _ => None,
        };
        let state = &mut *state;
        for (step, change) in std::mem::take(&mut state.pending) {
            let keep = match crash {
                Crash::LoseAll | Crash::Process => false,
                Crash::KeepAll => true,
                Crash::Random { .. } => random.below(2) == 0,
                Crash::Torn { .. } | Crash::TornLast { .. } => torn.is_none_or(|torn| step < torn),
            };
            if keep {
                change.apply(&mut state.durable);
            }
        }
        for file in state.files.values_mut() {
            for (step, change) in std::mem::take(&mut file.pending) {
                let keep_bytes = match crash {
                    Crash::LoseAll | Crash::Process => Some(0),
                    Crash::KeepAll => None,
                    Crash::Random { .. } => match random.below(4) {
                        0 => Some(0),
                        1 => None,
                        _ => {
                            change.apply_some_sectors(&mut file.durable, &mut random);
                            continue;
                        }
                    },
                    Crash::Torn { .. } | Crash::TornLast { .. } => match torn {
                        Some(torn) if step == torn => match crash {
                            Crash::TornLast { bytes } => Some(bytes),
                            _ => Some(random.below(change.len() as u64 + 1) as usize),
                        },
                        Some(torn) if step > torn => Some(0),
                        _ => None,
                    },
                };
                change.apply_first(keep_bytes, &mut file.durable);
            }
            file.current.clone_from(&file.durable);
        }
        state.forget_orphans();
        state.entries.clone_from(&state.durable);
        let alive: BTreeSet<u64> = state.entries.values().filter_map(|node| node.file()).collect();
        state.files.retain(|id, _| alive.contains(id));
    }
}

impl State {
    /// Drops what is durable in a directory that is not.
    fn forget_orphans(&mut self) {
        let mut dirs: BTreeSet<PathBuf> = BTreeSet::new();
        self.durable.retain(|path, node| {
            let stays = path
                .parent()
                .is_none_or(|parent| parent.as_os_str().is_empty() || dirs.contains(parent));
            if stays && *node == Node::Dir {
                dirs.insert(path.clone());
            }
            stays
        });
    }
}

#[derive(Clone, Debug)]
pub(super) struct EntryChange {
    pub(super) removed: Option<PathBuf>,
    pub(super) added: Option<(PathBuf, Node)>,
}

#[derive(Clone)]
pub(super) enum FileChange {
    Write(u64, Vec<u8>),
    Len(u64),
}

impl FileChange {
    pub(super) fn apply(&self, image: &mut Vec<u8>) {
        match self {
            FileChange::Write(offset, bytes) => write(image, *offset as usize, bytes),
            FileChange::Len(len) => image.resize(*len as usize, 0),
        }
    }
}

pub(super) fn write(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if image.len() < offset + bytes.len() {
        image.resize(offset + bytes.len(), 0);
    }
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl EntryChange {
    pub(super) fn apply(&self, entries: &mut BTreeMap<PathBuf, Node>) {
        if let Some(path) = &self.removed {
            entries.remove(path);
        }
        if let Some((path, node)) = &self.added {
            entries.insert(path.clone(), *node);
        }
    }

    pub(super) fn is_in(&self, dir: &Path) -> bool {
        let path = self.added.as_ref().map(|(path, _)| path).or(self.removed.as_ref());
        path.is_some_and(|path| path.parent() == Some(dir))
    }
}

impl FileChange {
    fn len(&self) -> usize {
        match self {
            FileChange::Write(_, bytes) => bytes.len(),
            FileChange::Len(_) => 1,
        }
    }

    /// Applies the first bytes of a write, or all of it.
    fn apply_first(&self, bytes: Option<usize>, image: &mut Vec<u8>) {
        match (self, bytes) {
            (_, Some(0)) => {}
            (FileChange::Write(offset, all), Some(kept)) => {
                write(image, *offset as usize, &all[..kept.min(all.len())]);
            }
            _ => self.apply(image),
        }
    }

    fn apply_some_sectors(&self, image: &mut Vec<u8>, random: &mut Random) {
        let FileChange::Write(offset, bytes) = self else { return };
        let (mut at, end) = (*offset, offset + bytes.len() as u64);
        while at < end {
            let next = (at / SECTOR + 1) * SECTOR;
            if random.below(2) == 0 {
                let part = (at - offset) as usize..(next.min(end) - offset) as usize;
                write(image, at as usize, &bytes[part]);
            }
            at = next;
        }
    }
}

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound.max(1)
    }
}
