//! The thread that owns the file. It takes lines as they come, writes those that wait together, and puts a
//! file away that would grow too long: `audit.log` becomes `audit.log.1`, that `.2`, and the last one goes.
//!
//! A failure ends nothing: the lines are counted as lost, the first of a row of failures is logged, and the
//! next lines are tried again.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use crossbeam_channel::Receiver;

use super::{AuditFigures, AuditSettings, Order, line};
use crate::clock::wall_clock;

/// Bytes that are written together.
const TOGETHER_BYTES: usize = 64 * 1024;

/// See the head of the module.
pub struct Writer {
    settings: AuditSettings,
    figures: Arc<AuditFigures>,
    file: File,
    /// How long the file is.
    len: u64,
    /// A write ended within a line.
    torn: bool,
    /// The last write failed, and that was logged.
    failing: bool,
}

impl Writer {
    /// Opens the file, or makes it: readable by its owner alone.
    pub fn open(settings: AuditSettings, figures: Arc<AuditFigures>) -> io::Result<Writer> {
        let (file, len) = open(&settings)?;
        // A process that ended within a line left it so.
        let mut last = [b'\n'];
        if len > 0 {
            file.read_exact_at(&mut last, len - 1)?;
        }
        Ok(Writer { settings, figures, file, len, torn: last != *b"\n", failing: false })
    }

    /// Writes until it is told to stop, or nobody is left who could.
    pub fn run(&mut self, orders: &Receiver<Order>) {
        let mut bytes = Vec::with_capacity(TOGETHER_BYTES);
        let mut stopped = false;
        while !stopped {
            let Ok(first) = orders.recv() else { break };
            let mut lines = 0;
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Line(line) => {
                        self.figures.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                        if self.is_full(bytes.len() + line.len()) {
                            self.write(&mut bytes, &mut lines);
                            self.put_away();
                        }
                        bytes.extend_from_slice(&line);
                        lines += 1;
                    }
                    Order::Stop => stopped = true,
                }
                next = if stopped || bytes.len() >= TOGETHER_BYTES {
                    None
                } else {
                    orders.try_recv().ok()
                };
            }
            self.write(&mut bytes, &mut lines);
            self.tell_lost();
        }
        self.tell_lost();
        if let Err(error) = self.file.sync_data() {
            self.failed(&error);
        }
    }

    /// Whether so many more bytes are too many. An empty file takes one line, however long.
    fn is_full(&self, more: usize) -> bool {
        self.len.saturating_add(more as u64) > self.settings.max_bytes
    }

    fn tell_lost(&mut self) {
        let lost = self.figures.untold.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let mut bytes = line::lost(wall_clock(), lost);
        if self.append(&mut bytes).is_err() {
            self.figures.untold.fetch_add(lost, Ordering::Relaxed); // told later
        }
    }

    /// Writes these lines, and empties both.
    fn write(&mut self, bytes: &mut Vec<u8>, lines: &mut u64) {
        if *lines > 0 {
            match self.append(bytes) {
                Ok(()) => _ = self.figures.written.fetch_add(*lines, Ordering::Relaxed),
                Err(()) => self.figures.lost(*lines),
            }
        }
        bytes.clear();
        *lines = 0;
    }

    fn append(&mut self, bytes: &mut Vec<u8>) -> Result<(), ()> {
        if self.torn {
            bytes.insert(0, b'\n');
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => {
                    return self
                        .cut_off(rest.len() < bytes.len(), &io::ErrorKind::WriteZero.into());
                }
                Ok(written) => {
                    self.len += written as u64;
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.cut_off(rest.len() < bytes.len(), &error),
            }
        }
        (self.torn, self.failing) = (false, false);
        Ok(())
    }

    fn cut_off(&mut self, within: bool, error: &io::Error) -> Result<(), ()> {
        self.torn |= within;
        self.failed(error);
        Err(())
    }

    fn failed(&mut self, error: &io::Error) {
        self.figures.errors.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            let path = self.settings.path.display();
            tracing::error!(%path, %error, "the audit log cannot be written: lines are lost until it can");
        }
    }

    /// Makes room: the files move on by one number, and a new one is begun.
    fn put_away(&mut self) {
        if self.len == 0 {
            return;
        }
        if let Err(error) = self.file.sync_data().and_then(|()| self.shift()) {
            self.failed(&error); // the file goes on growing, and it is tried again
        }
    }

    fn shift(&mut self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name: OsString = self.settings.path.clone().into();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.settings.max_files == 0 {
            fs::remove_file(&self.settings.path)?;
        } else {
            for number in (1..self.settings.max_files).rev() {
                match fs::rename(numbered(number), numbered(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            fs::rename(&self.settings.path, numbered(1))?;
        }
        (self.file, self.len) = open(&self.settings)?;
        self.torn = false;
        Ok(())
    }
}

fn open(settings: &AuditSettings) -> io::Result<(File, u64)> {
    let file =
        OpenOptions::new().read(true).create(true).append(true).mode(0o600).open(&settings.path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}
