//! Stories of several members: scripts in `stories/`, each with its transcript behind `---`. A transcript that comes out
//! otherwise is a failed test that shows the difference. After a change that is meant:
//!
//! ```sh
//! UPDATE_GOLDENFILES=1 cargo test -p ordeal-node --test raft stories && git diff node/tests/raft/stories
//! ```
//!
//! What a script may say stands in [`teller`]. Nothing in it is random: the same script gives the same transcript.

mod request;
mod teller;
mod words;

use std::collections::BTreeSet;
use std::path::PathBuf;

use teller::Teller;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/raft/stories")
}

fn tell(name: &str) {
    let script = directory().join(name).with_extension("txt");
    goldenscript::run(&mut Teller::default(), script).unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// A test a script, named after it.
macro_rules! stories {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            tell(stringify!($name));
        })*

        const TOLD: &[&str] = &[$(stringify!($name)),*];
    };
}

stories! {
    figure_7_followers_of_a_new_leader
    figure_8_an_old_entry_on_a_majority
    figure_8_with_the_rule
    ctrl_lost_entries_come_back
    e01_commit_by_counting_own_term_only
    e02_no_change_before_own_commit
    e03_removed_member_disturbs_nobody
    e04_way_back_from_a_higher_term
    e05_one_way_partition
    e06_late_append_deletes_nothing
    e07_commit_no_further_than_matched
    e08_read_quorum
    e09_newer_log_by_term_then_index
    e10_configuration_rolled_back
    e10_purged_previous_matches
    e11_snapshot_before_what_follows
    e12_appends_without_a_gap
    e13_restart_amid_a_snapshot
    e14_group_of_one_waits_for_its_disk
    e16_no_read_before_the_no_op
    e17_learner_never_campaigns
    e18_overwritten_append_acknowledged
    e19_restarted_group_elects
    e20_vote_is_durable_before_it_is_said
    pr397_old_round_confirms_nothing
}

/// A script that no test names would be one that cannot fail.
#[test]
fn every_script_is_told() {
    let told: BTreeSet<String> = TOLD.iter().map(|name| format!("{name}.txt")).collect();
    let files = std::fs::read_dir(directory()).expect("the scripts");
    let names = files.map(|file| file.expect("a file").file_name().into_string().expect("a name"));
    let scripts: BTreeSet<String> = names.filter(|name| name.ends_with(".txt")).collect();
    assert_eq!(scripts, told);
}
