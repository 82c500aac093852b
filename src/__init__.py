from src.errors import stop_quietly_while_starting

stop_quietly_while_starting()
