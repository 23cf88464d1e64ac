//! Shows two texts as one, line by line: ` ` in both, `-` only expected, `+` only received.

/// The difference between `expected` and `received`. Meant for conversations of some dozen lines.
pub fn lines(expected: &str, received: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), received.lines().collect());
    // common[i][j]: the length of the longest common subsequence of old[i..] and new[j..]
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut shown) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        let (sign, line) = if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
            (' ', old[i - 1])
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', old[i - 1])
        } else {
            j += 1;
            ('+', new[j - 1])
        };
        shown.extend(["  ", &sign.to_string(), " ", line, "\n"]);
    }
    shown
}
