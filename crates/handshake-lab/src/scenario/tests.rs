//! What the scenario language accepts, refuses and prints.

use proptest::prelude::*;

use super::*;

fn built_in() -> &'static str {
    BUILTINS[0].text
}

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse("test.toml", text, &[])
}

fn set(overrides: &[&str]) -> Result<Scenario, ScenarioError> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    Scenario::find(DEFAULT, &overrides)
}

fn refusal(result: Result<Scenario, ScenarioError>) -> String {
    let text = result.expect_err("refused").to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

#[test]
fn every_built_in_scenario_parses_and_carries_its_own_name() {
    for builtin in BUILTINS {
        let scenario = Scenario::find(builtin.name, &[]).expect("parses");
        assert_eq!(scenario.name, builtin.name);
    }
}

#[test]
fn a_printed_scenario_reads_back_as_itself() {
    let scenario = set(&["row.async.seconds=2.5", "device.ring=7"]).expect("parses");
    assert_eq!(parse(&scenario.print()).expect("parses"), scenario);
}

#[test]
fn the_printed_default_is_as_committed() {
    insta::assert_snapshot!(Scenario::find(DEFAULT, &[]).expect("parses").print());
}

#[test]
fn every_built_in_scenario_prints_a_copy_that_reads_back() {
    for builtin in BUILTINS {
        let scenario = Scenario::find(builtin.name, &[]).expect("parses");
        assert_eq!(parse(&scenario.print()).expect("parses"), scenario, "{}", builtin.name);
    }
}

#[test]
fn the_page_and_the_schema_are_those_of_the_types() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let read = |name: &str| std::fs::read_to_string(docs.join(name)).expect("there");
    assert!(
        page() == read("scenarios.md"),
        "stale: cargo xtask lab schema --page > docs/scenarios.md"
    );
    let schema = serde_json::to_string_pretty(&json_schema()).expect("plain data") + "\n";
    assert!(
        schema == read("scenario.schema.json"),
        "stale: cargo xtask lab schema > docs/scenario.schema.json"
    );
}

#[test]
fn the_schema_knows_every_field_with_its_default() {
    let schema = json_schema();
    for section in SECTIONS {
        let properties = match (section.name, section.repeats) {
            ("", _) => &schema["properties"],
            (name, true) => &schema["properties"][name]["items"]["properties"],
            (name, false) => &schema["properties"][name]["properties"],
        };
        for field in section.fields {
            let property = &properties[field.key];
            assert!(property["description"].is_string(), "{}.{}", section.name, field.key);
            let has_default = matches!(field.absent, Absent::Default(_));
            assert_eq!(property.get("default").is_some(), has_default, "{}", field.key);
        }
    }
}

#[test]
fn rows_inherit_what_they_do_not_say() {
    let plan = set(&["load.connections=12", "latency_ms=3"]).expect("parses").plan();
    assert_eq!(plan[2].connections, 12);
    assert_eq!(plan[2].device().latency_ms, 3.0);
    let burst = plan.iter().find(|row| row.name == "async-1s").expect("there");
    assert_eq!((burst.device().latency_ms, burst.rounds), (1000.0, Some(1)));
}

#[test]
fn overrides_reach_the_member_they_name() {
    let scenario =
        set(&["row.blocking.seconds=1.5", "device.card.units=3", "wake=ready"]).expect("parses");
    assert_eq!(scenario.rows[1].seconds, Some(1.5));
    assert_eq!(scenario.rows[2].seconds, None);
    assert_eq!(scenario.devices[0].units, 3);
}

#[test]
fn refusals_name_field_value_and_remedy() {
    let texts: Vec<String> = [
        set(&["device.ring=0"]),
        set(&["ring=0"]),
        set(&["conections=7"]),
        set(&["load.conections=7"]),
        set(&["row.asink.seconds=1"]),
        set(&["load.connections"]),
        set(&["load.connections=many"]),
        set(&["latency_ms=-1"]),
        set(&["latency_ms=nan"]),
        set(&["load.handshakes=profiled"]),
        set(&["engine.deadline_ms=5"]),
        set(&["clock=virtual", "server.wake=fd"]),
        set(&["load.arrivals=poisson"]),
        set(&["load.arrivals=poison"]),
        set(&["clock=virtual", "row.async.polling=heuristic"]),
        set(&["load.key=dsa"]),
        set(&["name=Two Words"]),
        set(&["name=other", "device.name=a b"]),
        Scenario::find("offlod-modes", &[]),
        Scenario::find("zzz", &[]),
        Scenario::find("/nowhere/at-all.toml", &[]),
        parse("name = \n"),
        parse("name = \"x\"\nquestion = \"q\"\nsummary = \"s\"\n"),
        parse(&built_in().replace("[[row]]", "[row]")),
        parse(&built_in().replace("[load]", "[lod]")),
        parse(&built_in().replace("name = \"blocking\"", "name = \"async\"")),
        parse(&format!("{}\n[[device]]\nname = \"second\"\n", built_in())),
    ]
    .into_iter()
    .map(refusal)
    .collect();
    insta::assert_snapshot!(texts.join("\n"));
}

proptest! {
    #[test]
    fn any_whole_number_in_range_is_taken_and_any_other_refused(ring in any::<i64>()) {
        let result = set(&[&format!("device.ring={ring}")]);
        if (1..=65_536).contains(&ring) {
            prop_assert_eq!(result.expect("taken").devices[0].ring, usize::try_from(ring).unwrap());
        } else {
            let expected = format!("device.ring = {ring}: ");
            prop_assert!(refusal(result).starts_with(&expected));
        }
    }

    #[test]
    fn a_slip_of_one_letter_suggests_the_key_that_was_meant(field in 0..8_usize, at in 1..4_usize) {
        let key = SECTIONS[1].fields[field].key;
        let mut slipped = key.to_owned();
        slipped.remove(at.min(key.len() - 1));
        prop_assume!(SECTIONS[1].field(&slipped).is_none());
        let text = refusal(set(&[&format!("load.{slipped}=1")]));
        prop_assert!(text.contains(&format!("did you mean \"load.{key}\"?")), "{}", text);
    }

    #[test]
    fn no_text_whatever_makes_the_parser_panic_or_speak_in_two_lines(text in "\\PC{0,200}") {
        prop_assert!(!refusal(parse(&text)).contains('\n'));
    }

    #[test]
    fn no_override_whatever_makes_the_parser_panic(text in "[a-z._]{0,20}=?[a-z0-9.\"-]{0,10}") {
        if let Err(error) = set(&[&text]) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}
