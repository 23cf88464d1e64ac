//! What happened: as one number, always, and as the last lines, where asked for.

use std::collections::VecDeque;

/// See the head of the module.
#[derive(Debug, Default)]
pub struct Trace {
    /// Changes with every event.
    pub hash: u64,
    pub events: u64,
    lines: Option<VecDeque<String>>,
}

const LINES: usize = 120;

impl Trace {
    pub fn new(keep_lines: bool) -> Trace {
        Trace { lines: keep_lines.then(VecDeque::new), ..Trace::default() }
    }

    /// Takes in numbers that tell an event from others.
    pub fn note(&mut self, numbers: &[u64]) {
        for &number in numbers {
            self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        self.events += 1;
    }

    /// A line for people.
    pub fn line(&mut self, now: u64, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(format!("{:>10.4} s  {}", now as f64 / 1e6, text()));
        }
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.iter().flatten().cloned().collect()
    }
}
