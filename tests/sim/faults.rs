//! Carries out the plan, and undoes what lasts only so long.

use callboard::actors::raft_node::role::Input;
use callboard::storage::disk::Disk;
use callboard::storage::sim_disk::Fault as DiskFault;
use std::path::Path;

use super::member::RaftIn;
use super::plan::{Fault, Shape, Stop};
use super::world::{Event, World, id_of};

impl World {
    pub fn fault(&mut self, number: usize) {
        let fault = self.plan.0[number].fault.clone();
        *self.stats.faults.entry(fault.kind()).or_default() += 1;
        self.trace.line(self.now, || format!("FAULT {fault:?}"));
        match fault {
            Fault::Crash { member, stop, down } => self.crash(member, stop, down),
            Fault::PowerCut { stop, down } => {
                for m in 0..self.members.len() {
                    self.crash(m, stop, down);
                }
            }
            Fault::CrashAtStep { member, steps, stop, down } => {
                let member = &mut self.members[member];
                let step = member.disk.steps() + steps;
                if member.run.is_some() && member.stop_at.is_none() {
                    member.stop_at = Some((step, stop, down));
                    member.disk.stop_at(step);
                }
            }
            Fault::Pause { member, long } => {
                if self.members[member].run.is_some() {
                    self.members[member].paused_until = self.now + long;
                }
            }
            Fault::Partition { shape, long } => {
                let links = self.links_of(&shape);
                for &link in &links {
                    *self.links.cut.entry(link).or_default() += 1;
                }
                self.cuts.insert(number, links);
                self.after(long, Event::Undo { number });
            }
            Fault::Clog { from, to, long } => {
                self.links.clogged_until.insert((from, to), self.now + long);
            }
            Fault::Lossy { lost, twice, late, long } => {
                (self.links.lost, self.links.twice, self.links.late) = (lost, twice, late);
                self.after(long, Event::Undo { number });
            }
            Fault::SlowDisk { member, latency, long } => {
                self.members[member].latency = latency;
                self.after(long, Event::Undo { number });
            }
            Fault::FullDisk { member, long } => {
                self.members[member].disk.set_full(true);
                self.after(long, Event::Undo { number });
            }
            Fault::DiskError { member, steps, down } => {
                let member = &mut self.members[member];
                member.disk.fail_at(member.disk.steps() + steps, DiskFault::Eio);
                member.down_after_error = down;
            }
            Fault::Rot { member, down } => self.rot(member, down),
            Fault::Lost { member } => {
                self.stop(member, Stop::Lose);
                self.members[member].gone = true;
                self.lost = Some(member);
            }
            Fault::WallJump { member, seconds } => {
                self.members[member].wall_offset += seconds * 1_000_000_000;
            }
            Fault::Transfer => {
                if let Some(leader) = self.leader() {
                    let to = number % (self.members.len() + 1);
                    let to = (to < self.members.len()).then(|| id_of(to));
                    self.tell_raft(leader, RaftIn::Input(Input::Transfer(to)));
                }
            }
            Fault::Members(change) => self.order_change(change),
        }
    }

    fn crash(&mut self, m: usize, stop: Stop, down: u64) {
        let member = &mut self.members[m];
        if member.gone || (member.run.is_none() && member.life == 0) {
            return;
        }
        member.down_until = member.down_until.max(self.now + down);
        self.trace.line(self.now, || format!("{} crashes ({stop:?})", m + 1));
        self.stop(m, stop);
        self.after(down, Event::Boot { m });
    }

    /// All is noted as synced; then power goes and a bit flips in what is at rest.
    fn rot(&mut self, m: usize, down: u64) {
        let Some(run) = &mut self.members[m].run else { return };
        if run.wal.is_waiting() || run.wal.idle().is_err() {
            return;
        }
        self.crash(m, Stop::Lose, down);
        let member = &mut self.members[m];
        member.damaged = true;
        self.lost = Some(m);
        let mut files = Vec::new();
        for dir in ["/data/member/wal", "/data/member/snap"].map(Path::new) {
            let names = member.disk.list(dir).unwrap_or_default();
            files.extend(names.iter().map(|name| dir.join(name)));
        }
        if files.is_empty() {
            return;
        }
        let file = files.swap_remove(member.random.below(files.len() as u64) as usize);
        let random = &mut member.random;
        member.disk.damage(&file, |bytes| {
            let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
            if used > 0 {
                bytes[random.below(used as u64) as usize] ^= 1 << random.below(8);
            }
        });
        self.trace.line(self.now, || format!("a bit flips in {}", file.display()));
    }

    fn links_of(&self, shape: &Shape) -> Vec<(usize, usize)> {
        let all = 0..self.members.len();
        let pairs = all.clone().flat_map(|from| all.clone().map(move |to| (from, to)));
        let leader = self.leader().unwrap_or(0);
        let is_cut = |&(from, to): &(usize, usize)| match *shape {
            Shape::Isolate(m) => from == m || to == m,
            Shape::IsolateLeader => from == leader || to == leader,
            Shape::DeafLeader { hears: true } => from == leader,
            Shape::DeafLeader { hears: false } => to == leader,
            Shape::Halves(side) => (side >> from) & 1 != (side >> to) & 1,
            Shape::Ring => {
                let many = self.members.len();
                (from + 1) % many != to && (to + 1) % many != from
            }
            Shape::OneWay(a, b) => (from, to) == (a, b),
        };
        pairs.filter(|(from, to)| from != to).filter(is_cut).collect()
    }

    /// What lasts only so long is over.
    pub fn undo(&mut self, number: usize) {
        if self.healed_at.is_some() {
            return;
        }
        match self.plan.0[number].fault {
            Fault::Partition { .. } => {
                for link in self.cuts.remove(&number).unwrap_or_default() {
                    *self.links.cut.entry(link).or_default() -= 1;
                }
                self.trace.line(self.now, || "a partition heals".to_owned());
            }
            Fault::Lossy { .. } => {
                (self.links.lost, self.links.twice, self.links.late) = (0, 0, 0);
            }
            Fault::SlowDisk { member, .. } => {
                self.members[member].latency = self.settings.disk_latency;
            }
            Fault::FullDisk { member, .. } => self.members[member].disk.set_full(false),
            _ => {}
        }
    }
}
