use super::super::scene::{Scene, keys, shown};
use super::*;

/// Keys changed, deleted, made again and made anew: every revision still tells what it held.
#[test]
fn every_revision_tells_what_it_held() {
    let mut scene = Scene::new();
    scene.put("a", "1"); // 2
    scene.put("b", "1"); // 3
    scene.put("c", "1"); // 4
    scene.put("b", "2"); // 5
    scene.delete("a"); // 6
    scene.put("a", "2"); // 7: again
    scene.delete("b.."); // 8: two keys
    scene.put("bb", "1"); // 9: a new one between
    scene.put("bb", "2"); // 10
    for (revision, all, from_b_to_c, b, a) in [
        (1, "", "", "", ""),
        (2, "a=1", "", "", "a=1"),
        (3, "a=1 b=1", "b=1", "b=1", "a=1"),
        (4, "a=1 b=1 c=1", "b=1", "b=1", "a=1"),
        (5, "a=1 b=2 c=1", "b=2", "b=2", "a=1"),
        (6, "b=2 c=1", "b=2", "b=2", ""),
        (7, "a=2 b=2 c=1", "b=2", "b=2", "a=2"),
        (8, "a=2", "", "", "a=2"),
        (9, "a=2 bb=1", "bb=1", "", "a=2"),
        (10, "a=2 bb=2", "bb=2", "", "a=2"),
    ] {
        assert_eq!(scene.held("\0..", revision), all, "all at {revision}");
        assert_eq!(scene.held("b..c", revision), from_b_to_c, "b..c at {revision}");
        assert_eq!(scene.held("b", revision), b, "b at {revision}");
        assert_eq!(scene.held("a", revision), a, "a at {revision}");
        let text = |text: &str| {
            let view = View::new(&scene.state, &keys(text), Revision(revision as u64));
            (shown(view.iter(&scene.state, None)), view.count(&scene.state))
        };
        for (range, held) in [("\0..", all), ("b..c", from_b_to_c), ("b", b), ("a", a)] {
            let count = held.split_whitespace().count();
            assert_eq!(text(range), (held.to_owned(), count), "{range} at {revision}");
        }
    }
    assert_eq!(scene.held("c..b", 3), "", "a range the wrong way round");
    assert_eq!(scene.held("a", 11), V3Error::FutureRevision.to_string());
}

/// The compacted revision itself can be read; none before it can.
#[test]
fn compaction_ends_what_can_be_read() {
    let mut scene = Scene::new();
    scene.put("a", "1"); // 2
    scene.put("a", "2"); // 3
    scene.delete("a"); // 4
    scene.put("a", "3"); // 5
    scene.compact(3).unwrap();
    for freed in [false, true] {
        assert_eq!(scene.held("a", 2), V3Error::Compacted.to_string());
        assert_eq!(scene.held("a", 3), "a=2", "freed: {freed}");
        assert_eq!(scene.held("a..", 3), "a=2");
        assert_eq!(scene.held("a", 4), "");
        assert_eq!(scene.held("a", 5), "a=3");
        scene.state.free_compacted(usize::MAX);
    }
    scene.compact(5).unwrap();
    scene.state.free_compacted(usize::MAX);
    assert_eq!(scene.held("a", 5), "a=3");
    assert_eq!(scene.held("a", 4), V3Error::Compacted.to_string());
}

/// A walk may be broken off after any key and taken up behind it.
#[test]
fn a_walk_goes_on_after_any_key() {
    let mut scene = Scene::new();
    for key in ["a", "b", "c", "d"] {
        scene.put(key, "1");
    }
    let then = scene.state.revision;
    scene.delete("b");
    scene.put("c", "2");
    scene.put("cc", "1");
    for (revision, after, left) in [
        (then, "a", "b=1 c=1 d=1"),
        (then, "b", "c=1 d=1"),
        (then, "bb", "c=1 d=1"),
        (then, "c", "d=1"),
        (then, "d", ""),
        (scene.state.revision, "a", "c=2 cc=1 d=1"),
        (scene.state.revision, "c", "cc=1 d=1"),
    ] {
        let view = View::new(&scene.state, &keys("a.."), revision);
        let found = shown(view.iter(&scene.state, Some(after.as_bytes())));
        assert_eq!(found, left, "after {after} at {revision}");
    }
    let one = View::new(&scene.state, &keys("c"), scene.state.revision);
    assert_eq!(shown(one.iter(&scene.state, Some(b"c"))), "");
}
