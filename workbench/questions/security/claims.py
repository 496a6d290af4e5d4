"""Judges of the claims about protection: most are about attacks that no corpus here covers."""

from workbench.catalog.ledger import Judges, not_testable

JUDGES: Judges = {
    (9, "input validation and adversarial training", "protection"): not_testable(
        "needs an adversarially trained model",
        "Validation refuses malformed requests (tests/gateway/test_validation.py); well-formed texts that mislead a model need one that was trained against them.",
    ),
    (9, "rate limits and output perturbation", "protection"): not_testable(
        "needs an attacker that trains on the answers",
        "The gateway flags a copying key on generated traffic (tests/gateway/test_abuse.py); a share of prevented extractions needs extractions.",
    ),
    (9, "differential privacy and encryption", "protection"): not_testable(
        "needs a model trained with differential privacy",
        "Redaction, which the workbench measures, is another control; differential privacy belongs to training, encryption to the load balancer.",
    ),
    (9, "input cleaning and sandbox", "protection"): not_testable(
        "needs a model that follows instructions and calls tools",
        "No filter of instructions inside texts is reliable; the gateway forwards tool calls and runs none.",
    ),
}
"""By question, technique and metric; that of denial of service is judged where surges are measured."""
