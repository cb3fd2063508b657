//! What came of a run: its numbers, its judgement in words, and both put together with what was planned and done. From
//! files alone, so that a stored run is concluded by the same code as one that has just ended.

mod availability;
mod conclude;
mod failing;
mod figures;
mod gather;
mod judge;
mod rely;
mod require;
mod stop;

pub use availability::Asks;
pub use conclude::{Concluded, Course, Judged, Known, conclude, judge, judge_file, recall};
pub use failing::{Failing, failing};
pub use figures::{Bucket, Figures, figures, window};
pub use gather::{Gathered, Whole};
pub use judge::{anomalies, full_stop, word};
pub use rely::promise_words;
pub use require::{Required, required};
pub use stop::Kept;
