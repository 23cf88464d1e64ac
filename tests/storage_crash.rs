//! A member's storage is stopped at every step of a scripted life, in every way in which a disk can
//! stop, and must come back with everything that was acknowledged, and nothing else than a prefix of
//! what was still under way. `CALLBOARD_CRASH_SCALE=10` makes the script ten times as long.

mod storage_common;

use callboard::storage::disk::Operation;
use callboard::storage::sim_disk::{Crash, Fault, SimDisk};
use callboard::storage::wal::WalError;
use callboard::types::Index;
use storage_common::{Failure, Life, Recovered, recover, scale};

/// Things done in a script; each takes a few steps.
fn things() -> usize {
    60 * scale() as usize
}

fn crashes(step: u64) -> Vec<Crash> {
    let random = (0..5).map(|n| Crash::Random { seed: step * 5 + n });
    let torn = (0..2).map(|n| Crash::Torn { seed: step * 2 + n });
    [Crash::Process, Crash::LoseAll, Crash::KeepAll].into_iter().chain(random).chain(torn).collect()
}

/// Starts on the disk and holds what is found against the model.
fn recover_and_check(life: &Life, disk: &SimDisk, what: &str) -> Option<Recovered> {
    let found = recover(disk).unwrap_or_else(|error| panic!("{what}: start refused: {error}"));
    let Some(found) = found else {
        assert!(!life.model.created, "{what}: the WAL is gone");
        return None;
    };
    life.model.check(&found).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    Some(found)
}

/// Crashes a copy of the disk, starts, checks; then loses everything that the start did not sync,
/// starts again, and finds the same. Then the same with the start itself stopped at each step.
fn crash_and_check(life: &Life, crash: Crash, what: &str) -> u64 {
    let disk = life.disk.fork();
    disk.crash(crash);
    disk.heal();
    let again = disk.fork();
    let first_step = disk.steps();
    let Some(found) = recover_and_check(life, &disk, what) else { return 1 };
    let recovery_steps = disk.steps() - first_step;
    let log = found.log;
    disk.crash(Crash::LoseAll);
    let second = recover_and_check(life, &disk, what).expect("it was there before");
    assert_eq!(second.log, log, "{what}: the second start finds something else");
    assert!(second.report.torn.is_none(), "{what}: the torn tail came back");

    // The log goes on, whatever was cut off.
    let mut next = Life::resume(disk.clone(), 1, &life.model, second.wal, &log);
    next.group_commit(2).unwrap_or_else(|error| panic!("{what}: append after start: {error}"));
    disk.crash(Crash::LoseAll);
    recover_and_check(&next, &disk, what);

    // And for long after the first start, segment after segment, before power is lost.
    let disk = again.fork();
    if let Some(first) = recover_and_check(life, &disk, what) {
        let mut next = Life::resume(disk.clone(), 2, &life.model, first.wal, &first.log);
        next.group_commit(12).unwrap_or_else(|error| panic!("{what}: append after start: {error}"));
        disk.crash(Crash::LoseAll);
        recover_and_check(&next, &disk, &format!("{what}, long after"));
    }

    for step in 0..recovery_steps {
        let disk = again.fork();
        disk.stop_at(first_step + step);
        assert!(recover(&disk).is_err());
        disk.crash(Crash::Random { seed: step });
        recover_and_check(life, &disk, &format!("{what}, start stopped at {step}"));
    }
    2 + recovery_steps
}

#[test]
fn stopped_at_every_step_nothing_acknowledged_is_lost() {
    let mut cases = 0;
    let mut whole = Life::new(SimDisk::new(), 3);
    whole.start().unwrap();
    whole.run(things()).unwrap();
    let steps = whole.disk.steps();
    for step in 0..=steps {
        let disk = SimDisk::new();
        disk.stop_at(step);
        let mut life = Life::new(disk, 3);
        let lived = life.start().and_then(|()| life.run(things()));
        assert_eq!(lived.is_ok(), step == steps);
        for crash in crashes(step) {
            cases += crash_and_check(&life, crash, &format!("step {step}, {crash:?}"));
        }
    }
    eprintln!("{steps} steps, {cases} starts");
}

/// Runs a script in which one step fails. A process that meets an error of its WAL ends.
fn with_fault(step: u64, fault: Fault, seed: u64) -> (Life, Result<(), Failure>) {
    let disk = SimDisk::new();
    disk.fail_at(step, fault);
    let mut life = Life::new(disk, seed);
    life.retries_no_space = true;
    let lived = life.start().and_then(|()| life.run(things() / 2));
    (life, lived)
}

#[test]
fn a_failed_operation_ends_the_log_and_loses_nothing() {
    let (whole, _) = with_fault(u64::MAX, Fault::Eio, 4);
    let mut poisoned = 0;
    let mut survived = 0;
    for step in 0..whole.disk.steps() {
        for fault in [Fault::Eio, Fault::NoSpace, Fault::ShortWrite(100)] {
            let what = format!("step {step}, {fault:?}");
            let (mut life, lived) = with_fault(step, fault, 4);
            survived += u64::from(lived.is_ok());
            if let Err(Failure::Wal(WalError::Disk(error))) = &lived
                && matches!(error.operation, Operation::Write | Operation::Sync)
                && let Some(wal) = &mut life.wal
            {
                poisoned += 1;
                assert!(matches!(wal.sync(), Err(WalError::Poisoned)), "{what}: tried again");
                assert!(matches!(wal.mark_synced(), Err(WalError::Poisoned)), "{what}");
                assert!(matches!(wal.reserve(0), Err(WalError::Poisoned)), "{what}");
                assert!(matches!(wal.release(Index(0)), Err(WalError::Poisoned)), "{what}");
            }
            assert!(fault == Fault::NoSpace || lived.is_err(), "{what}: an error was swallowed");
            for crash in crashes(step) {
                crash_and_check(&life, crash, &format!("{what}, {crash:?}"));
            }
        }
    }
    assert!(poisoned > 100 && survived > 5, "{poisoned} poisoned, {survived} survived");
}

#[test]
fn one_script_run_twice_makes_the_same_disk() {
    let run = || {
        let mut life = Life::new(SimDisk::new(), 11);
        life.start().unwrap();
        life.run(30).unwrap();
        life.disk.crash(Crash::Random { seed: 5 });
        let names = |dir: &std::path::Path| {
            use callboard::storage::disk::Disk;
            life.disk
                .list(dir)
                .unwrap()
                .into_iter()
                .map(|name| {
                    let bytes = life.disk.contents(&dir.join(&name));
                    (name, bytes)
                })
                .collect::<Vec<_>>()
        };
        (names(&storage_common::wal_dir()), names(&storage_common::snap_dir()))
    };
    assert_eq!(run(), run());
}
