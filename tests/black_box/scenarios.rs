//! Scenarios with real nodes: quick ones here, all of them by `ordeal run --scenario all`.

use super::{done, ordeal};

#[test]
fn quick_scenarios_are_played_and_stored() {
    let dir = tempfile::tempdir().expect("a directory");
    let names = ["basic-agree", "rejoin", "persist-3", "kv-unreliable-one-key"];
    let mut command = ordeal(["run", "--seed", "5", "--json", "--store"]);
    command.arg(dir.path()).args(names.map(|name| format!("--scenario={name}")));
    let played = done(&mut command).exits(0);
    let summaries: Vec<serde_json::Value> =
        played.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let of = |at: usize, field: &str| summaries[at][field].clone();
    assert_eq!(summaries.iter().map(|one| one["scenario"].as_str()).collect::<Vec<_>>(), names.map(Some));
    for (at, name) in names.iter().enumerate() {
        assert_eq!((of(at, "verdict"), of(at, "exit")), ("valid".into(), 0.into()), "{name}");
        let measures = of(at, "measures");
        let elected = |one: &serde_json::Value| one["name"] == "leader elected" && one["at_most"] == 5_000.0;
        assert!(measures.as_array().expect("measures").iter().any(elected), "{measures}");
    }
    // Faults have happened: in the second by cuts, in the third by kills too, in the fourth to frames.
    assert!(of(1, "wire")["frames"]["swallowed"].as_u64() > Some(0), "{}", of(1, "wire"));
    assert!(of(2, "faults").as_array().expect("faults").iter().any(|one| one["kind"] == "kill"));
    assert!(of(3, "wire")["frames"]["lost"].as_u64() > Some(0), "{}", of(3, "wire"));
    let store = dir.path().display().to_string();
    let listed = done(&mut ordeal(["list", "--store", &store])).exits(0).stdout;
    assert!(names.iter().all(|name| listed.contains(name)), "{listed}");
    let shown = done(&mut ordeal(["show", "--store", &store])).exits(0).stdout;
    assert!(shown.contains("scenario kv-unreliable-one-key") && shown.contains("lost"), "{shown}");
}

#[test]
fn the_catalog_names_every_scenario_and_others_are_refused() {
    let listed = done(&mut ordeal(["catalog", "--json"])).exits(0).stdout;
    let rows: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert!(
        rows.len() > 50
            && rows.iter().all(|row| row["source"]
                .as_str()
                .is_some_and(|of| of.starts_with("Test") || of.starts_with("lesson")))
    );
    let text = done(&mut ordeal(["catalog"])).exits(0).stdout;
    assert_eq!(text.lines().count(), rows.len());
    done(&mut ordeal(["run", "--scenario", "figure9"])).exits(2).explains("figure9");
}
