from tests.decoder_fixture import tiny_decoder_folder, tiny_model_folder
from tests.judge_fixture import tiny_judge_folder
from tests.llm_fixture import tiny_llm, tiny_llm_folder

__all__ = [
    "tiny_decoder_folder",
    "tiny_judge_folder",
    "tiny_llm",
    "tiny_llm_folder",
    "tiny_model_folder",
]
