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

/// The violations of a JSON Schema by a value: the few keywords that ours uses, without the declaration behind them.
fn against(schema: &serde_json::Value, value: &serde_json::Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut hold = |keyword: &str, holds: bool| {
        if !holds {
            faults.push(format!("{keyword} of {value}"));
        }
    };
    for (keyword, wanted) in schema.as_object().expect("a schema") {
        let number = || wanted.as_f64().expect("a number");
        let length = value.as_str().map(|text| text.chars().count() as f64);
        match keyword.as_str() {
            "type" => hold(
                keyword,
                match wanted.as_str().expect("a name") {
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("type {other}"),
                },
            ),
            "enum" => hold(keyword, wanted.as_array().expect("words").contains(value)),
            "minimum" => hold(keyword, value.as_f64().is_some_and(|given| given >= number())),
            "maximum" => hold(keyword, value.as_f64().is_some_and(|given| given <= number())),
            "minLength" => hold(keyword, length.is_some_and(|length| length >= number())),
            "maxLength" => hold(keyword, length.is_some_and(|length| length <= number())),
            "required" => wanted.as_array().expect("keys").iter().for_each(|key| {
                hold(keyword, value.get(key.as_str().expect("a key")).is_some());
            }),
            "properties"
            | "additionalProperties"
            | "items"
            | "pattern"
            | "description"
            | "default"
            | "$schema"
            | "title" => {}
            other => panic!("keyword {other}"),
        }
    }
    for (key, member) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(key) {
            Some(schema) => faults.extend(against(schema, member)),
            None => faults.push(format!("no property {key}")),
        }
    }
    for member in value.as_array().into_iter().flatten() {
        faults.extend(against(&schema["items"], member));
    }
    faults
}

#[test]
fn the_schema_takes_every_built_in_scenario_and_refuses_what_the_lab_refuses() {
    let schema = json_schema();
    let read = |text: &str| serde_json::to_value(text.parse::<Table>().expect("TOML"));
    for builtin in BUILTINS {
        let printed = Scenario::find(builtin.name, &[]).expect("parses").print();
        for text in [builtin.text, &printed] {
            let faults = against(&schema, &read(text).expect("plain data"));
            assert!(faults.is_empty(), "{}: {faults:?}", builtin.name);
        }
    }
    for (right, wrong) in [
        ("[load]", "[lod]"),
        ("ring = 64", "ring = 0"),
        ("ring = 64", "ring = 6.5"),
        ("key = \"p256\"", "key = \"dsa\""),
        ("mode = \"software\"", ""),
        ("question = ", "questions = "),
    ] {
        let text = built_in().replacen(right, wrong, 1);
        assert_ne!(text, built_in(), "{right}");
        assert!(!against(&schema, &read(&text).expect("plain data")).is_empty(), "{wrong}");
        assert!(parse(&text).is_err(), "{wrong}");
    }
}

#[test]
fn a_table_that_is_left_out_has_the_defaults_of_its_type() {
    let scenario = parse(
        "name = \"x\"\nquestion = \"q\"\nsummary = \"s\"\n[[row]]\nname = \"r\"\nmode = \"async\"\n",
    );
    let scenario = scenario.expect("parses");
    assert_eq!(scenario.devices, [DeviceSpec::default()]);
    assert_eq!(scenario.load, Load::default());
    assert_eq!(scenario.engine, EngineOptions::default());
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
        set(&["clock=virtual", "row.async.mode=threads"]),
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
        parse(&built_in().replace("[[row]]", "[[rows]]")),
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
        let load = &language::SECTIONS[1];
        let key = load.fields[field].key;
        let mut slipped = key.to_owned();
        slipped.remove(at.min(key.len() - 1));
        prop_assume!(load.field(&slipped).is_none());
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
