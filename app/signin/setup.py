"""The first account, by the link that the first start has printed."""

from __future__ import annotations

from app.signin.entry import EntryHandler
from backend.identity import IdentityError, PasswordRefused, SetupRefused


class SetupHandler(EntryHandler):
    async def get(self) -> None:
        token = self.get_query_argument("token", "")
        if await self.run(self.services.identity.setup_link_good, token):
            self.page("setup.html", token=token, name="")
        else:
            self.refuse(404, str(SetupRefused()))

    async def post(self) -> None:
        token = self.get_body_argument("token", "")
        name = self.get_body_argument("name", "")
        password = self.get_body_argument("password", "", strip=False)
        try:
            if password != self.get_body_argument("repeat", "", strip=False):
                raise PasswordRefused("The two passwords are not the same.")
            pending = await self.sign_in(
                self.services.identity.set_up,
                token,
                name,
                password,
                address=self.address,
                user_agent=self.user_agent,
            )
        except SetupRefused as error:
            self.refuse(404, str(error))
        except IdentityError as error:
            self.refused("setup.html", error, token=token, name=name)
        else:
            self.begun(pending, "/")
