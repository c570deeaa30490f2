"""What goes where an exercise has its dots: an expression, or the body of the function that is asked for."""

SOLUTIONS = {
    "noise.wrong": "0.4 * 9 / 10",
    "noise.matrix": """
other = rate / (k - 1)
return [[1 - rate if i == j else other for j in range(k)] for i in range(k)]
""",
    "noise.memorised": "1 - 0.36",
    "nrd.divergence": """
three = list(zip(label, student, teacher))  # a triple for each class
mixture = [sum(w * p for w, p in zip(pi, ps)) for ps in three]
return sum(
    w * p * float(np.log(p / m))
    for ps, m in zip(three, mixture)
    for w, p in zip(pi, ps)
    if p > 0  # 0 log 0 = 0
)
""",
    "nrd.teacher": "return decay * teacher + (1 - decay) * student",
    "nrd.label_weight": "0.6 + 0.2",
    "pu.rate": "0.45 / (1 - 0.1)",
    "pu.accept": "return int(np.argmax(votes)) if max(votes) >= needed else -1",
    "pu.target": """
weight = weight if max(teacher) >= eta else 0
return [weight * t + (1 - weight) * y for t, y in zip(teacher, label)]
""",
    "lci.confidence": "return 1 / (1 + np.exp(-slope * (mean + margin - loss)))",
    "lci.gce": "return (1 - p**q) / q",
    "lci.bound": "1 / 0.7",
    "flywheel.cleanness": "return gamma * g / (gamma * g + (1 - gamma) * epsilon)",
    "flywheel.target": "return [q * (k == y) + (1 - q) * p for k, p in enumerate(f)]",
    "flywheel.right": "0.5 + 0.5 / 10",
    "rfl.information": """
alone = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
some = joint > 0  # 0 log 0 = 0
return float((joint[some] * np.log(joint[some] / alone[some])).sum())
""",
    "rfl.collapse": "0.0",
    "rfl.bootstrap": "return [alpha * y + (1 - alpha) * p for y, p in zip(label, prediction)]",
}
