//! Means of scores over cases and over classes.

use super::Scores;

/// Means of one class over cases, or over classes of such means.
///
/// As in nnU-Net v2 a case where the class is in neither prediction nor reference (NaN) is left out of Dice and IoU, and here out of
/// the surface scores; counts and volumes are over all cases. Infinite distances are left out too, and counted. Over classes, a
/// class that no case has is left out (nnU-Net's own mean would be NaN).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Means {
    /// Dice.
    pub dice: f64,
    /// Intersection over union.
    pub iou: f64,
    /// Surface Dice.
    pub surface_dice: f64,
    /// HD95 in mm over the cases that have one.
    pub hd95_mm: f64,
    /// Cases whose HD95 is infinite because one of prediction and reference is empty.
    pub unbounded: usize,
    /// Cases where prediction or reference has the class.
    pub present: usize,
    /// Volume of the prediction, ml.
    pub prediction_ml: f64,
    /// Volume of the reference, ml.
    pub reference_ml: f64,
    /// True positives, false positives, false negatives, true negatives.
    pub counts: [f64; 4],
}

/// The mean of the finite values; NaN without any.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.filter(|v| v.is_finite()).fold((0.0, 0u32), |(sum, n), v| (sum + v, n + 1));
    sum / f64::from(n)
}

impl Means {
    /// Over the cases of one class.
    pub fn over_cases(scores: &[Scores]) -> Self {
        let of = |f: fn(&Scores) -> f64| mean(scores.iter().map(f));
        Self {
            dice: of(|s| s.counts.dice()),
            iou: of(|s| s.counts.iou()),
            surface_dice: of(|s| s.surface_dice),
            hd95_mm: of(|s| s.hd95_mm),
            unbounded: scores.iter().filter(|s| s.hd95_mm.is_infinite()).count(),
            present: scores.iter().filter(|s| s.counts.prediction() + s.counts.reference() > 0).count(),
            prediction_ml: of(|s| s.prediction_ml),
            reference_ml: of(|s| s.reference_ml),
            counts: [of(|s| s.counts.tp as f64), of(|s| s.counts.fp as f64), of(|s| s.counts.fn_ as f64), of(|s| s.counts.tn as f64)],
        }
    }

    /// Over classes; each class weighs the same, however many cases have it.
    pub fn over_classes(classes: &[Means]) -> Self {
        let of = |f: &dyn Fn(&Means) -> f64| mean(classes.iter().map(f));
        Self {
            dice: of(&|m| m.dice),
            iou: of(&|m| m.iou),
            surface_dice: of(&|m| m.surface_dice),
            hd95_mm: of(&|m| m.hd95_mm),
            unbounded: classes.iter().map(|m| m.unbounded).sum(),
            present: classes.iter().map(|m| m.present).sum(),
            prediction_ml: of(&|m| m.prediction_ml),
            reference_ml: of(&|m| m.reference_ml),
            counts: std::array::from_fn(|i| of(&|m| m.counts[i])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Counts;

    #[test]
    fn absent_classes_and_infinite_distances_are_left_out() {
        let hit = Scores {
            counts: Counts { tp: 3, fp: 1, fn_: 1, tn: 5 },
            surface_dice: 0.5,
            hd95_mm: 2.0,
            prediction_ml: 4.0,
            reference_ml: 4.0,
        };
        let missed = Scores {
            counts: Counts { tp: 0, fp: 0, fn_: 2, tn: 8 },
            surface_dice: 0.0,
            hd95_mm: f64::INFINITY,
            prediction_ml: 0.0,
            reference_ml: 2.0,
        };
        let m = Means::over_cases(&[hit, missed, Scores::absent(10)]);
        assert_eq!((m.dice, m.iou, m.surface_dice, m.hd95_mm), (0.375, 0.3, 0.25, 2.0));
        assert_eq!((m.unbounded, m.present), (1, 2));
        assert_eq!((m.prediction_ml, m.reference_ml), (4.0 / 3.0, 2.0));
        assert_eq!(m.counts, [1.0, 1.0 / 3.0, 1.0, 23.0 / 3.0]);
        let never = Means::over_cases(&[Scores::absent(10)]);
        assert!(never.dice.is_nan() && never.hd95_mm.is_nan());
        let all = Means::over_classes(&[m, never]);
        assert_eq!((all.dice, all.hd95_mm, all.unbounded, all.present), (0.375, 2.0, 1, 2));
        assert_eq!(all.reference_ml, 1.0);
        assert!(Means::over_classes(&[never]).dice.is_nan());
    }
}
