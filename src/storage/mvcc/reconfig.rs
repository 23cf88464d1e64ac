//! Whether a change of the membership is safe to ask for, by etcd's rules for
//! `--strict-reconfig-check`: the cluster that comes of it must have a quorum of members that have
//! started, and those that it counts on must answer. [`Membership::check`] says what is valid; this says
//! what is wise, as one member sees it now.
//!
//! Pure; depends on `types`.

use super::membership::{Member, Membership};
use crate::types::MemberId;

/// Why a change is not safe now; the texts are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// Those that have started would be no quorum.
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    /// Too few answer, or not for long enough.
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
}

/// How another member answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Not at all.
    No,
    /// Since a moment ago.
    Lately,
    /// For so long that it counts as healthy.
    Steadily,
}

/// What one member sees of the others.
pub struct Seen<'a, F> {
    /// Who is in the cluster.
    pub membership: &'a Membership,
    /// The one that sees.
    pub own: MemberId,
    /// How each of the others answers.
    pub answers: F,
}

impl<F: Fn(MemberId) -> Answers> Seen<'_, F> {
    /// Whether a member may be added now.
    pub fn may_add(&self, learner: bool) -> Result<(), Unsafe> {
        let (voters, started) = self.count(|_| true);
        // A second member may join a single one: else no cluster could ever grow from one.
        let first_of_all = voters == 1 && started == 1;
        if !learner && !first_of_all && started < quorum(voters + 1) {
            return Err(Unsafe::NotEnoughStarted);
        }
        if self.healthy() == voters { Ok(()) } else { Err(Unsafe::Unhealthy) }
    }

    /// Whether a learner may get its vote now.
    pub fn may_promote(&self) -> Result<(), Unsafe> {
        let (voters, started) = self.count(|_| true);
        // A learner that is promoted counts as started.
        if started + 1 < quorum(voters + 1) { Err(Unsafe::NotEnoughStarted) } else { Ok(()) }
    }

    /// Whether a member may be removed now.
    pub fn may_remove(&self, id: MemberId) -> Result<(), Unsafe> {
        if self.membership.member(id).is_some_and(|member| member.learner) {
            return Ok(());
        }
        let (voters_left, started_left) = self.count(|member| member.id != id);
        if started_left < quorum(voters_left) {
            return Err(Unsafe::NotEnoughStarted);
        }
        if id != self.own && (self.answers)(id) == Answers::No {
            return Ok(()); // one that is down takes nothing from those that are up
        }
        let voters = self.membership.voters().count();
        let healthy_left = self.healthy().saturating_sub(1);
        let needed = quorum(voters.saturating_sub(1));
        if healthy_left < needed { Err(Unsafe::Unhealthy) } else { Ok(()) }
    }

    /// How many voters there are, and how many of them have started, among those that count.
    fn count(&self, counts: impl Fn(&Member) -> bool) -> (usize, usize) {
        let voters = self.membership.members().iter().filter(|member| !member.learner);
        voters.filter(|member| counts(member)).fold((0, 0), |(all, started), member| {
            (all + 1, started + usize::from(!member.name.is_empty()))
        })
    }

    /// How many voters are healthy; the one that sees is.
    fn healthy(&self) -> usize {
        let is_healthy =
            |id: &MemberId| *id == self.own || (self.answers)(*id) == Answers::Steadily;
        self.membership.voters().filter(is_healthy).count()
    }
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter for each member, by id from 1: `S` answers steadily, `l` lately, `d` is down, `n` has
    /// no name yet, `L` is a learner. The first is the one that sees.
    fn judge<R>(cluster: &str, ask: impl Fn(&Seen<'_, &dyn Fn(MemberId) -> Answers>) -> R) -> R {
        let letter = |id: u64| cluster.as_bytes().get(id as usize - 1).copied().unwrap_or(b'd');
        let members = (1..=cluster.len() as u64).map(|id| Member {
            id: MemberId(id),
            name: if letter(id) == b'n' { String::new() } else { format!("m{id}") },
            peer_urls: vec![format!("http://m{id}:1")],
            client_urls: Vec::new(),
            learner: letter(id) == b'L',
        });
        let membership = Membership::new(members.collect());
        let answers = move |id: MemberId| match letter(id.0) {
            b'S' | b'L' => Answers::Steadily,
            b'l' => Answers::Lately,
            _ => Answers::No,
        };
        let answers: &dyn Fn(MemberId) -> Answers = &answers;
        ask(&Seen { membership: &membership, own: MemberId(1), answers })
    }

    const FEW: Result<(), Unsafe> = Err(Unsafe::NotEnoughStarted);
    const ILL: Result<(), Unsafe> = Err(Unsafe::Unhealthy);

    #[test]
    fn adding() {
        for (cluster, voter, learner) in [
            ("S", Ok(()), Ok(())),
            ("Sn", FEW, ILL),
            ("Sl", ILL, ILL),
            ("SS", Ok(()), Ok(())),
            ("Sd", ILL, ILL),
            ("SL", Ok(()), Ok(())),
            ("SSS", Ok(()), Ok(())),
            ("SSl", ILL, ILL),
            ("SSd", ILL, ILL),
            ("SSn", FEW, ILL),
            ("SSSn", ILL, ILL),
            ("SSSSn", ILL, ILL),
            ("SSnn", FEW, ILL),
        ] {
            assert_eq!(judge(cluster, |seen| seen.may_add(false)), voter, "voter to {cluster}");
            assert_eq!(judge(cluster, |seen| seen.may_add(true)), learner, "learner to {cluster}");
        }
    }

    #[test]
    fn removing() {
        for (cluster, id, expected) in [
            ("S", 1, FEW),
            ("Sn", 1, FEW),
            ("Sn", 2, Ok(())), // it never came: without it the first is a cluster again
            ("SS", 2, Ok(())),
            ("SS", 1, Ok(())),
            ("Sl", 2, ILL),
            ("Sd", 2, Ok(())),
            ("SSS", 3, Ok(())),
            ("SSS", 1, Ok(())),
            ("SSd", 3, Ok(())),
            ("SSd", 2, ILL),
            ("SSl", 3, ILL),
            ("SSn", 2, FEW),
            ("SSn", 3, Ok(())),
            ("SSnd", 2, ILL),
            ("SSL", 3, Ok(())),
            ("SL", 1, FEW),
            ("SS", 9, Ok(())), // one that nobody knows is left to `Membership::check`
        ] {
            let judged = judge(cluster, |seen| seen.may_remove(MemberId(id)));
            assert_eq!(judged, expected, "{id} of {cluster}");
        }
    }

    #[test]
    fn promoting() {
        for (cluster, expected) in
            [("SL", Ok(())), ("SnL", Ok(())), ("SnnL", FEW), ("SSnL", Ok(())), ("SdL", Ok(()))]
        {
            let judged = judge(cluster, |seen| (seen.may_promote(), seen.own));
            assert_eq!(judged, (expected, MemberId(1)), "{cluster}");
        }
    }
}
