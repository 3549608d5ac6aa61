"""The paper's tables on the embedded model's domain: arms, hypotheses, and what came of them."""
