import hashlib

import numpy as np
import pytest
from scipy.stats import truncnorm

from lnl_kit.data import built_in, feature_noise, noise
from lnl_kit.toolbox import metrics


def labels(n, k):
    return np.random.RandomState(7).permutation(np.arange(n) % k)


def images(n, channels=1, size=6):
    return np.random.RandomState(8).randint(0, 256, (n, channels, size, size)).astype(np.uint8)


def draw(name, rate, seed=0, n=20_000, k=10, like="cifar10", **more):
    true = labels(n, k)
    return true, noise.noisy_labels(true, name, rate, seed, num_classes=k, like=like, **more)


@pytest.fixture
def matrix_file(tmp_path):
    matrix = np.random.RandomState(3).dirichlet(np.ones(10), 10)
    np.savetxt(tmp_path / "T.csv", matrix, delimiter=",")
    return f"matrix:{tmp_path / 'T.csv'}", matrix


CASES = [
    ("symmetric", 0.5, 10, ""),
    ("symmetric", 0.8, 4, ""),
    ("symmetric_exclusive", 0.6, 10, ""),
    ("symmetric_exclusive", 1.0, 2, ""),
    ("asymmetric", 0.4, 10, "cifar10"),
    ("asymmetric", 0.3, 10, "digits"),
    ("asymmetric", 0.4, 100, "cifar100"),
    ("asymmetric_inplace", 0.4, 10, "cifar10"),
    ("pair_flip", 0.45, 10, ""),
    ("none", None, 10, ""),
]


@pytest.mark.parametrize("name, rate, k, like", CASES)
def test_empirical_transition_matrix(name, rate, k, like):
    n = 3000 * k if k <= 10 else 1000 * k
    true, given = draw(name, rate, n=n, k=k, like=like)
    expected = noise.transition_matrix(name, rate, k, like)
    np.testing.assert_allclose(expected.sum(1), 1)
    made, _ = metrics.empirical_transition(true, given, k)
    # four standard deviations of a share of n/k images, five where there are 10,000 entries to compare
    tolerance = (5 if k == 100 else 4) * np.sqrt(expected * (1 - expected) / (n / k)) + 1e-3
    assert (np.abs(made - expected) < tolerance).all()
    assert (given[true != given] < k).all()


def test_matrix_noise(matrix_file):
    name, matrix = matrix_file
    np.testing.assert_allclose(noise.transition_matrix(name, None, 10), matrix)
    true, given = draw(name, None, n=40_000)
    made, _ = metrics.empirical_transition(true, given, 10)
    assert (np.abs(made - matrix) < 4 * np.sqrt(matrix * (1 - matrix) / 4000) + 1e-3).all()


def test_matrix_noise_at_its_limits(tmp_path):
    """An identity matrix changes nothing; a permutation moves every label."""
    true = labels(500, 4)
    for permutation in ([0, 1, 2, 3], [2, 0, 3, 1]):
        np.savetxt(tmp_path / "T.csv", np.eye(4)[permutation], delimiter=",", fmt="%g")
        given = noise.noisy_labels(true, f"matrix:{tmp_path / 'T.csv'}", None, 0, num_classes=4)
        assert given.tolist() == np.array(permutation)[true].tolist()


# exact counts


def test_symmetric_redraws_an_exact_share_over_all_classes():
    true, given = draw("symmetric", 0.5)
    # the same permutation names the images that are redrawn; the others keep their label
    redrawn = np.random.RandomState(0).permutation(20_000)[:10_000]
    kept = np.setdiff1d(np.arange(20_000), redrawn)
    assert (given[kept] == true[kept]).all()
    assert 0.07 < (given[redrawn] == true[redrawn]).mean() < 0.13  # a tenth of the redraws hits the own class
    assert noise.actual_rate(given, true) == pytest.approx(0.45, abs=0.005)


@pytest.mark.parametrize("name", ["symmetric_exclusive", "pair_flip"])
@pytest.mark.parametrize("n, rate", [(1437, 0.5), (100, 0.29), (7, 0.3)])
def test_exact_count(name, n, rate):
    true, given = draw(name, rate, n=n)
    assert (given != true).sum() == round(rate * n)


def test_asymmetric_counts():
    for like in ("cifar10", "digits"):
        true, given = draw("asymmetric", 0.4, n=4000, like=like)
        for c in range(10):
            assert (given[true == c] != c).sum() == (160 if c in noise.PAIRS[like] else 0)
        assert noise.actual_rate(given, true) == 0.2
    true, given = draw("asymmetric", 0.4, n=4000, k=100, like="cifar100")
    assert (given != true).sum() == 1600


def test_pairs_by_name():
    cifar10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    names = {cifar10[a]: cifar10[b] for a, b in noise.PAIRS["cifar10"].items()}
    assert names == {"truck": "automobile", "bird": "airplane", "cat": "dog", "dog": "cat", "deer": "horse"}
    assert noise.PAIRS["digits"] == {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}


def test_cifar100_moves_within_the_superclass():
    # superclass of each of the 100 classes, as numbered in the data set's own files
    coarse = np.array(
        [
            4,
            1,
            14,
            8,
            0,
            6,
            7,
            7,
            18,
            3,
            3,
            14,
            9,
            18,
            7,
            11,
            3,
            9,
            7,
            11,
            6,
            11,
            5,
            10,
            7,
            6,
            13,
            15,
            3,
            15,
            0,
            11,
            1,
            10,
            12,
            14,
            16,
            9,
            11,
            5,
            5,
            19,
            8,
            8,
            15,
            13,
            14,
            17,
            18,
            10,
            16,
            4,
            17,
            4,
            2,
            0,
            17,
            4,
            18,
            17,
            10,
            3,
            2,
            12,
            12,
            16,
            12,
            1,
            9,
            19,
            2,
            10,
            0,
            1,
            16,
            12,
            9,
            13,
            15,
            13,
            16,
            19,
            2,
            4,
            6,
            19,
            5,
            5,
            8,
            19,
            18,
            1,
            2,
            15,
            6,
            0,
            17,
            8,
            14,
            13,
        ]
    )
    target = noise.transition_matrix("asymmetric", 1.0, 100, "cifar100").argmax(1)
    for c in range(100):
        members = np.flatnonzero(coarse == coarse[c])
        assert len(members) == 5
        assert target[c] == members[(members.tolist().index(c) + 1) % 5]


def test_in_place_quirk_lets_cats_come_back():
    true, given = draw("asymmetric_inplace", 0.4, n=50_000)
    wrong = {c: (given[true == c] != c).mean() for c in range(10)}
    assert wrong[3] == pytest.approx(0.24, abs=0.015)  # cat to dog, of which 40 % come back
    assert wrong[5] == pytest.approx(0.40, abs=0.015)
    assert wrong[9] == pytest.approx(0.40, abs=1e-9) and wrong[0] == 0
    _, on_true_labels = draw("asymmetric", 0.4, n=50_000)
    assert (on_true_labels[true == 3] != 3).mean() == pytest.approx(0.40)


# instance noise


def test_instance_noise_rate_and_dependence():
    k, n = 5, 20_000
    # 40 different pictures, each many times: the wrong class depends on picture and class alone
    pictures = images(40)
    which = np.random.RandomState(1).randint(40, size=n)
    true = labels(n, k)
    given = noise.noisy_labels(true, "instance", 0.3, 0, num_classes=k, images=pictures[which])
    assert noise.actual_rate(given, true) == pytest.approx(truncnorm(-3, 7, 0.3, 0.1).mean(), abs=0.01)
    weights = np.array([noise.actual_rate(given[true == c], true[true == c]) for c in range(k)])
    assert np.abs(weights - 0.3).max() < 0.03
    favourite = 0
    for picture in range(40):
        for c in range(k):
            wrong = given[(which == picture) & (true == c) & (given != c)]
            favourite += np.bincount(wrong, minlength=k).max()
    assert favourite > 0.75 * (given != true).sum()  # by chance it would be about a third


@pytest.mark.parametrize("rate", [0.05, 0.95])
def test_instance_noise_is_truncated(rate):
    true = labels(20_000, 3)
    given = noise.noisy_labels(true, "instance", rate, 0, num_classes=3, images=images(20_000, size=2))
    expected = truncnorm(-rate / 0.1, (1 - rate) / 0.1, rate, 0.1).mean()
    assert abs(expected - rate) > 0.02  # so this tells truncation from clipping
    assert noise.actual_rate(given, true) == pytest.approx(expected, abs=0.008)


def test_instance_noise_by_a_slow_loop():
    """The generator as published, image by image, on the same draws."""
    n, k = 60, 3
    true, x = labels(n, k), images(n, size=3)
    given = noise.noisy_labels(true, "instance", 0.4, 5, num_classes=k, images=x)
    rng = np.random.RandomState(5)
    flip = rng.normal(0.4, 0.1, n)
    assert ((flip >= 0) & (flip <= 1)).all()
    projections = [rng.standard_normal((9, k)) for _ in range(k)]
    u = rng.random_sample(n)
    for i in range(n):
        pixels, projection = x[i].ravel(), projections[true[i]]
        score = np.array([sum(pixels[d] / 255 * projection[d, c] for d in range(9)) for c in range(k)])
        score[true[i]] = -np.inf
        p = flip[i] * np.exp(score) / np.exp(score).sum()
        p[true[i]] = 1 - flip[i]
        assert given[i] == np.searchsorted(np.cumsum(p), u[i], side="right")


# the draw itself

CHECKSUMS = {
    "symmetric": "ab7fa309e93d81e6",
    "symmetric_exclusive": "048ffd830fe1231b",
    "asymmetric": "aa5046e3718f5ff7",
    "asymmetric_inplace": "0dc86df491b25475",
    "pair_flip": "8f619dd789105544",
    "instance": "983eff3464f55dec",
    "matrix": "ab1ed9c262d5ec6a",
}


def fixed_draw(kind, tmp_path, seed=1):
    if kind == "matrix":
        rows = [[0.5 if i == j else 0.5 / 9 for j in range(10)] for i in range(10)]
        np.savetxt(tmp_path / "T.csv", rows, delimiter=",")
        kind = f"matrix:{tmp_path / 'T.csv'}"
    rate = None if kind.startswith("matrix") else 0.4
    return draw(kind, rate, seed, n=1000, images=images(1000))[1]


@pytest.mark.parametrize("kind", CHECKSUMS)
def test_draws_are_frozen(kind, tmp_path):
    """Results of earlier runs stay comparable: the draw of a seed never changes, on any platform."""
    given = fixed_draw(kind, tmp_path)
    assert given.dtype == np.int64
    assert hashlib.sha256(given.astype("<i8").tobytes()).hexdigest()[:16] == CHECKSUMS[kind]
    assert (fixed_draw(kind, tmp_path) == given).all()
    assert (fixed_draw(kind, tmp_path, seed=2) != given).any()


def test_global_random_state_plays_no_part(tmp_path):
    np.random.seed(0)
    one = fixed_draw("instance", tmp_path)
    np.random.seed(1)
    assert (fixed_draw("instance", tmp_path) == one).all()
    before = np.random.get_state()[1].copy()
    fixed_draw("symmetric", tmp_path)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("name", ["none", "symmetric", "asymmetric", "pair_flip", "instance"])
def test_no_noise(name):
    true = labels(100, 10).astype(np.int32)
    given = noise.noisy_labels(true, name, 0, 0, num_classes=10, like="digits", images=images(100))
    assert given.dtype == np.int64 and (given == true).all()
    given[0] = -1
    assert true[0] != -1  # a copy


# requests that make no sense


@pytest.mark.parametrize(
    "name, rate, like, message",
    [
        ("symetric", 0.5, "", "unknown noise 'symetric'; choose one of none, symmetric, symmetric_exclusive"),
        ("symmetric:x", 0.5, "", "unknown noise"),
        ("matrix", None, "", "unknown noise 'matrix'; .*matrix:FILE.csv"),
        ("symmetric", 1.2, "", r"noise rate 1.2 is outside \[0, 1\]"),
        ("symmetric", -0.1, "", r"noise rate -0.1 is outside \[0, 1\]"),
        ("symmetric", float("nan"), "", r"noise rate nan is outside"),
        ("symmetric", None, "", "needs a rate"),
        ("none", 0.5, "", "'none' takes no rate, but 0.5 was given"),
        ("matrix:T.csv", 0.5, "", "'matrix:T.csv' takes no rate, but 0.5 was given"),
        (
            "asymmetric",
            0.4,
            "",
            "defined for cifar10, digits, cifar100, not for other data; .*--like cifar10",
        ),
        ("asymmetric_inplace", 0.4, "digits", "cifar10 alone, not for data like 'digits'"),
    ],
)
def test_check_refuses(name, rate, like, message):
    with pytest.raises(ValueError, match=message):
        noise.check(name, rate, like)
    with pytest.raises(ValueError, match=message):
        noise.noisy_labels(labels(10, 10), name, rate, 0, num_classes=10, like=like)


def test_check_accepts(matrix_file):
    for name, rate, like in [
        ("none", None, ""),
        ("none", 0, ""),
        ("human", None, ""),
        ("symmetric", 0, ""),
        ("symmetric", 1, ""),
        ("asymmetric", 0.4, "cifar100"),
        (matrix_file[0], None, ""),
    ]:
        noise.check(name, rate, like)


def test_wrong_data():
    with pytest.raises(ValueError, match="noise like cifar10 is for 10 classes, but the data have 7"):
        noise.noisy_labels(labels(10, 7), "asymmetric", 0.4, 0, num_classes=7, like="cifar10")
    with pytest.raises(ValueError, match=r"integer per image in 0..4"):
        noise.noisy_labels(labels(10, 7), "symmetric", 0.4, 0, num_classes=5)
    with pytest.raises(ValueError, match="at least 2 classes, not 1"):
        noise.noisy_labels(np.zeros(5, int), "symmetric_exclusive", 0.4, 0, num_classes=1)
    with pytest.raises(ValueError, match="needs the images"):
        noise.noisy_labels(labels(10, 7), "instance", 0.4, 0, num_classes=7)
    with pytest.raises(ValueError, match="read from label files"):
        noise.noisy_labels(labels(10, 10), "human", None, 0, num_classes=10)
    with pytest.raises(ValueError, match="seed -1 is outside"):
        noise.noisy_labels(labels(10, 10), "symmetric", 0.5, -1, num_classes=10)
    for name in ("human", "instance"):
        with pytest.raises(ValueError, match="no transition matrix"):
            noise.transition_matrix(name, None if name == "human" else 0.4, 10)


@pytest.mark.parametrize(
    "text, message",
    [
        ("0.5,0.5\n0.2,0.7\n", r"row 2 is not \(sum 0.9\)"),
        ("1.5,-0.5\n0,1\n", "row 1 is not"),
        ("nan,0.5\n0,1\n", "row 1 is not"),
        ("0.5,0.25,0.25\n0,1,0\n", r"as many columns as rows, K of each; its shape is \(2, 3\)"),
        ("a,b\n0,1\n", "no table of numbers"),
        ("0.5,0.5\n1\n", "no table of numbers with rows of equal length"),
        ("", "as many columns as rows"),
    ],
)
def test_wrong_matrix_files(tmp_path, text, message):
    (tmp_path / "T.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        noise.check(f"matrix:{tmp_path / 'T.csv'}", None)


def test_matrix_file_missing_or_of_another_size(tmp_path, matrix_file):
    with pytest.raises(FileNotFoundError, match="no transition matrix file"):
        noise.check(f"matrix:{tmp_path / 'nowhere.csv'}", None)
    with pytest.raises(ValueError, match="is for 10 classes, but the data have 4"):
        noise.noisy_labels(labels(8, 4), matrix_file[0], None, 0, num_classes=4)


@pytest.fixture(scope="module")
def scans():
    x, y, _, _ = built_in.digits()
    return x, y, feature_noise.probabilities(x, y, 10)


@pytest.mark.parametrize(
    "kind, tau", [("pmd_1", [0.5, 0.375, 0]), ("pmd_2", [1, 0.875, 0]), ("pmd_3", [1, 17 / 24, 0])]
)
def test_pmd_by_its_polynomials(kind, tau):
    np.testing.assert_allclose(feature_noise.flip_shape(kind, np.array([0, 0.5, 1])), tau, atol=1e-12)
    eta = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3]])
    other, flip = feature_noise.flips(kind, eta, np.array([0, 1, 0]), 0.3)
    assert other.tolist() == [1, 2, 1]
    d = np.array([0.5, 0.3, 0])  # never below zero
    expected = feature_noise.flip_shape(kind, d)
    np.testing.assert_allclose(flip, expected * 0.3 / expected.mean(), atol=1e-9)
    assert feature_noise.flips(kind, eta, np.array([0, 1, 0]), 0.9)[1].mean() == pytest.approx(0.9)


@pytest.mark.parametrize("kind", feature_noise.KINDS)
def test_pmd_flips_what_is_alike_to_what_it_is_like(scans, kind):
    x, y, eta = scans
    given = noise.noisy_labels(y, kind, 0.2, 0, num_classes=10, images=x)
    wrong = given != y
    assert wrong.mean() == pytest.approx(0.2, abs=0.03)
    others = eta.copy()
    others[np.arange(len(y)), y] = -1
    assert (given[wrong] == others.argmax(1)[wrong]).all()
    margin = eta[np.arange(len(y)), y] - others.max(1)
    assert margin[wrong].mean() < margin[~wrong].mean() - 0.05
    assert (given == noise.noisy_labels(y, kind, 0.2, 0, num_classes=10, images=x)).all()


@pytest.mark.slow
def test_discriminants_are_fishers(scans):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, y, eta = scans
    assert (eta.argmax(1) == y).mean() > 0.95 and np.allclose(eta.sum(1), 1)
    flat = x.reshape(len(x), -1) / 255
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(flat, y).predict(flat)
    assert (eta.argmax(1) == theirs).mean() > 0.99


def test_blocks_of_larger_images():
    x = np.arange(2 * 3 * 33 * 33).reshape(2, 3, 33, 33).astype(np.uint8)
    small = feature_noise.seen(x)
    assert small.shape == (2, 3 * 16 * 16)
    assert small[0, 0] == pytest.approx(x[0, 0, :2, :2].mean() / 255)


def test_pmd_needs_images_and_has_no_matrix():
    with pytest.raises(ValueError, match="pmd_1 noise needs the images"):
        noise.noisy_labels(labels(20, 4), "pmd_1", 0.2, 0, num_classes=4)
    with pytest.raises(ValueError, match="no transition matrix"):
        noise.transition_matrix("pmd_2", 0.2, 4)
