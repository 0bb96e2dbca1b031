//! JSON as nnU-Net v2 writes `summary.json`, with the surface scores added.

use mnx_volume::metrics::{Means, Scores};
use serde_json::{Map, Value, json};

use super::{Evaluation, shown};

/// `metric_per_case`, `mean` and `foreground_mean` as nnU-Net has them, per class key `1` or `(1, 2)`. What is no number, or
/// infinite, is null. Besides: the classes' names, the tolerance and the cases that failed.
pub fn json(e: &Evaluation) -> Value {
    let keys: Vec<String> = e.classes.iter().map(super::Class::key).collect();
    let keyed = |values: Vec<Value>| Value::Object(keys.iter().cloned().zip(values).collect::<Map<_, _>>());
    let cases: Vec<Value> = e
        .cases
        .iter()
        .map(|case| {
            json!({
                "case": case.pair.case,
                "metrics": keyed(case.scores.iter().map(scores).collect()),
                "prediction_file": shown(&case.pair.prediction),
                "reference_file": shown(&case.pair.reference),
            })
        })
        .collect();
    let failed: Vec<Value> = e.failed.iter().map(|f| json!({ "case": f.case, "reason": f.reason })).collect();
    json!({
        "foreground_mean": means(&e.foreground),
        "mean": keyed(e.means.iter().map(means).collect()),
        "metric_per_case": cases,
        "classes": keyed(e.classes.iter().map(|c| Value::from(c.name.as_str())).collect()),
        "tolerance_mm": e.tolerance_mm,
        "failed": failed,
    })
}

fn scores(s: &Scores) -> Value {
    let c = s.counts;
    json!({
        "Dice": c.dice(),
        "IoU": c.iou(),
        "TP": c.tp,
        "FP": c.fp,
        "FN": c.fn_,
        "TN": c.tn,
        "n_pred": c.prediction(),
        "n_ref": c.reference(),
        "SurfaceDice": s.surface_dice,
        "HD95": s.hd95_mm,
        "volume_pred_ml": s.prediction_ml,
        "volume_ref_ml": s.reference_ml,
    })
}

fn means(m: &Means) -> Value {
    let [tp, fp, fn_, tn] = m.counts;
    json!({
        "Dice": m.dice,
        "IoU": m.iou,
        "TP": tp,
        "FP": fp,
        "FN": fn_,
        "TN": tn,
        "n_pred": tp + fp,
        "n_ref": tp + fn_,
        "SurfaceDice": m.surface_dice,
        "HD95": m.hd95_mm,
        "HD95_unbounded": m.unbounded,
        "volume_pred_ml": m.prediction_ml,
        "volume_ref_ml": m.reference_ml,
    })
}
