# brackets with user, host, path and count of jobs, then a sign that depends on the person
PROMPT='[%n@%m:%~]%(1j. [%j&].) %(!.#.$) '
