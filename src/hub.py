"""Models of the Hugging Face hub by name: from a folder or the local cache, and a quick, clear end where neither is."""

from __future__ import annotations

from pathlib import Path

from src.errors import UserError

ANSWERS_WITHIN = 10.0
CONFIG = "config.json"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def locate(name: str, key: str) -> str:
    """What `from_pretrained` is to be given for `name`: a folder, the cache's too, or a hub name that the hub knows.

    Asked for a model that cannot be had, `from_pretrained` tries for half a minute; this asks the hub once.

    Args:
        name: a folder, or 'owner/model'.
        key: the parameter that names it, for the message.

    Raises:
        UserError: the folder holds no model, or the model is not in the cache and the hub does not give it.
    """
    # Imported late: few need it.
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(name).is_dir():
        if not (Path(name) / CONFIG).is_file():
            raise UserError(f"{name} holds no model ({CONFIG} is missing): {key} is a hub name or a model's folder")
        return name
    try:
        cached = try_to_load_from_cache(name, CONFIG)
        if isinstance(cached, str) and any(any(Path(cached).parent.glob(weights)) for weights in WEIGHTS):
            return str(Path(cached).parent)
        HfApi().model_info(name, timeout=ANSWERS_WITHIN)
    except HFValidationError:
        raise UserError(f"{key} is {name!r}: neither a folder nor a hub name (owner/model)") from None
    except Exception as error:  # the hub's client has changed its HTTP library, and with it the errors, before
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{key} is {name!r}, which is no folder, is not in the hub's cache here, and the hub does not give it "
            f"({said}): use 'default', or the folder of a model that was downloaded elsewhere"
        ) from error
    return name
