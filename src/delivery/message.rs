//! What receivers are told, as JSON.

use serde::Serialize;
use store::Message;
use utoipa::ToSchema;

use crate::wall::rfc3339;

/// The body of a webhook.
#[derive(Serialize, ToSchema)]
pub struct Body<'a> {
    /// `alarm.raised`, `alarm.acknowledged`, `alarm.latched`, `alarm.cleared` or `alarm.escalated`.
    #[serde(rename = "type")]
    kind: String,
    /// When that happened.
    timestamp: String,
    data: Data<'a>,
}

/// The alarm as it stood then, in the words of the API.
#[derive(Serialize, ToSchema)]
struct Data<'a> {
    /// The alarm.
    id: String,
    device: &'a str,
    /// The pseudonym of who wore the device when the alarm came in.
    patient: Option<&'a str>,
    /// The boot id of the record, in hexadecimal.
    record: String,
    condition: &'a str,
    /// `physiological` or `technical`.
    kind: &'static str,
    /// `high`, `medium` or `low`.
    priority: &'static str,
    /// `active`, `acknowledged`, `latched` or `cleared`.
    state: &'static str,
    /// Estimated instant at which the condition began.
    onset: Option<String>,
    onset_sample: u64,
    /// Estimated instant of the sample that satisfied it.
    raised: String,
    /// Who acknowledged, where that is what is told.
    acknowledged_by: Option<&'a str>,
    /// How often nobody's answer was escalated by then, where that is what is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    escalated_level: Option<u32>,
    /// Why it was raised, or what made the step, with the numbers it rests on.
    evidence: &'a str,
    /// Where to ask for more.
    alarm: String,
}

impl<'a> From<&'a Message> for Body<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            kind: format!("alarm.{}", message.kind.name()),
            timestamp: rfc3339(message.utc),
            data: Data {
                id: message.alarm.to_string(),
                device: message.record.device.as_str(),
                patient: message.patient.as_ref().map(store::PatientId::as_str),
                record: message.record.boot.to_string(),
                condition: &message.condition,
                kind: message.alarm_kind.name(),
                priority: message.priority.name(),
                state: message.state.name(),
                onset: message.onset_utc.map(rfc3339),
                onset_sample: message.onset.0,
                raised: rfc3339(message.raised),
                acknowledged_by: message.by.as_deref(),
                escalated_level: (message.level > 0).then_some(message.level),
                evidence: &message.evidence,
                alarm: format!("/api/v1/alarms/{}", message.alarm),
            },
        }
    }
}

impl Body<'_> {
    /// The same bytes for the same message, however often it is sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers become JSON")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ecg::{AlarmId, AlarmKind, AlarmState, BootId, Priority, RecordId, SampleIndex, Utc};
    use store::MessageKind;
    use uuid::Uuid;

    use super::*;

    /// The example of the README.
    pub(crate) fn message() -> Message {
        Message {
            seq: 1,
            id: Uuid::from_u128(5),
            alarm: AlarmId(Uuid::from_u128(4)),
            record: RecordId {
                device: "vest-7".parse().unwrap(),
                boot: BootId(0xbeef),
            },
            patient: Some("p-17".parse().unwrap()),
            kind: MessageKind::Raised,
            level: 0,
            condition: "asystole".into(),
            alarm_kind: AlarmKind::Physiological,
            priority: Priority::High,
            state: AlarmState::Active,
            onset: SampleIndex(1000),
            onset_utc: Some(Utc(1_700_000_000_000_000)),
            raised: Utc(1_700_000_004_000_000),
            utc: Utc(1_700_000_004_000_000),
            stored: Utc(1_700_000_004_500_000),
            by: None,
            evidence: "no QRS for 4.0 s".into(),
        }
    }

    #[test]
    fn a_body_tells_what_whose_when_and_why() {
        let body: serde_json::Value =
            serde_json::from_slice(&Body::from(&message()).bytes()).unwrap();
        let expected = serde_json::json!({
            "type": "alarm.raised",
            "timestamp": "2023-11-14T22:13:24.000000Z",
            "data": {
                "id": "00000000-0000-0000-0000-000000000004",
                "device": "vest-7",
                "patient": "p-17",
                "record": BootId(0xbeef).to_string(),
                "condition": "asystole",
                "kind": "physiological",
                "priority": "high",
                "state": "active",
                "onset": "2023-11-14T22:13:20.000000Z",
                "onset_sample": 1000,
                "raised": "2023-11-14T22:13:24.000000Z",
                "acknowledged_by": null,
                "evidence": "no QRS for 4.0 s",
                "alarm": "/api/v1/alarms/00000000-0000-0000-0000-000000000004",
            }
        });
        assert_eq!(body, expected);
        let mut escalated = message();
        (escalated.kind, escalated.level) = (MessageKind::Escalated, 2);
        let body: serde_json::Value =
            serde_json::from_slice(&Body::from(&escalated).bytes()).unwrap();
        assert_eq!(body["type"], "alarm.escalated");
        assert_eq!(body["data"]["escalated_level"], 2);
    }
}
