//! How directions are told in the log.

use crate::orientation::directions;

/// The sides that the file's x, y and z axes run towards: `RAS`; a question mark where the affine does not tell.
pub(crate) fn letters(affine: &[[f64; 4]; 4]) -> String {
    let sides = [['L', 'R'], ['P', 'A'], ['I', 'S']];
    directions(affine).map_or("?".to_owned(), |d| d.iter().map(|&(world, positive)| sides[world][usize::from(positive)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_told_by_the_side_they_run_towards() {
        let lps = [[-1.0, 0.0, 0.0, 0.0], [0.0, -2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        assert_eq!(letters(&lps), "LPS");
        let air = [[0.0, 0.0, 1.0, 0.0], [2.0, 0.0, 0.0, 0.0], [0.0, -2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        assert_eq!(letters(&air), "AIR");
        assert_eq!(letters(&[[0.0; 4]; 4]), "?");
    }
}
